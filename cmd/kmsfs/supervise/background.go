package supervise

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
)

// Going to the background: the program starts itself once more and waits at a
// pipe. The child does everything, prints its own errors, and writes one byte
// when the mount answers. Only then does it leave the session and the
// terminal: systemd's automounter lets nobody but the process group of
// mount(8) through to the mountpoint, and a child that left too early would
// wait for itself.

// readyEnv names the pipe's descriptor to the child.
const readyEnv = "KMSFS_READY_FD"

// Readiness is the child's end.
type Readiness struct {
	pipe   *os.File
	told   atomic.Bool
	leaves bool
}

// InheritReadiness returns the child's end, or nil in any other process. One that
// leaves the session when it is ready ends with its parent before that.
func InheritReadiness(leaves bool) *Readiness {
	fd, err := strconv.Atoi(os.Getenv(readyEnv))
	os.Unsetenv(readyEnv)
	if err != nil || fd < 3 {
		return nil
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil
	}
	unix.CloseOnExec(fd)
	r := &Readiness{pipe: os.NewFile(uintptr(fd), "readiness pipe"), leaves: leaves}
	if leaves {
		go r.watch(int32(fd))
	}
	return r
}

// watch sends this process the signal that ended its parent, or might have:
// without it nobody waits for the mount, and whatever this process does, it
// should stop.
func (r *Readiness) watch(fd int32) {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: fd}}, -1) // a pipe without a reader
		if err != unix.EINTR {
			break
		}
	}
	if !r.told.Load() {
		unix.Kill(os.Getpid(), unix.SIGTERM)
	}
}

// Report leaves the session, if that is wanted, and tells the parent. It returns false when the
// parent is gone: then nobody knows of this mount.
func (r *Readiness) Report() (heard bool) {
	r.told.Store(true)
	if r.leaves {
		leaveSession()
	}
	_, err := r.pipe.Write([]byte{'!'})
	r.pipe.Close()
	return err == nil
}

func leaveSession() {
	unix.Setsid()
	os.Chdir("/")
	if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
		for fd := range 3 {
			unix.Dup3(int(null.Fd()), fd, 0)
		}
		null.Close()
	}
}

// StartBackground runs a command line of ours in the background and returns when
// it is ready or has failed. A device that was handed in goes along.
func StartBackground(name string, args []string, device *os.File) error {
	// Descriptors that a shell left open are not passed on.
	unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	self, err := os.Executable()
	if err != nil {
		return ui.Systemf("start in the background: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return ui.Systemf("start in the background: %w", err)
	}
	defer read.Close()
	args = slices.Clone(args)
	if device != nil {
		args[slices.Index(args, mount.DevFD+strconv.Itoa(int(device.Fd())))] = mount.DevFD + "4"
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = name
	cmd.Env = append(os.Environ(), readyEnv+"=3")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{write}
	if device != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, device)
	}
	if err := cmd.Start(); err != nil {
		write.Close()
		return ui.Systemf("start in the background: %w", err)
	}
	write.Close()
	if n, _ := read.Read(make([]byte, 1)); n == 1 {
		return cmd.Process.Release()
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if exit.Exited() {
			return ui.ExitError(exit.ExitCode()) // it has said why
		}
		return ui.Failf("mount: the background process died before it was ready (%s)", signalName(exit))
	}
	return ui.Failf("mount: the background process ended before it was ready")
}

func signalName(e *exec.ExitError) string {
	if ws, ok := e.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return fmt.Sprint(ws.Signal())
	}
	return e.String()
}
