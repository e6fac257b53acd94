package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/session"
)

// StopPatience is how long a hand-over waits for requests that are under way.
// What takes longer, the successor begins anew.
const StopPatience = 200 * time.Millisecond

// Session is what this process serves, as far as another one goes on with it.
type Session interface {
	Quiesce(patience time.Duration) bool
	Stop(patience time.Duration) bool
	Restart()
	Lifeline() *session.Lifeline
}

// Reexec hands the mount over to the program as it lies on disk now, under the
// same path and with the same arguments: this process becomes it. It returns
// only if that is not possible, and serves on. quiescence is how long what the
// kernel is being told may take.
func Reexec(s Session, quiescence time.Duration, directory string, in Inheritance) error {
	path, err := TrustedProgram()
	if err != nil {
		return err
	}
	// execve waits for every thread, also for one that tells the kernel
	// something; that may wait for a request which only we answer.
	if !s.Quiesce(quiescence) {
		return fmt.Errorf("hand over to %s: pages are being taken back from the kernel, behind reads that do not end", path)
	}
	s.Stop(StopPatience)
	line := s.Lifeline()
	numbers := map[string]int{session.DeviceName: int(line.Device.Fd()), session.JournalName: int(line.Journal.Fd()), session.SourceName: int(line.Source.Fd())}
	if in.holder != nil {
		numbers[holderName] = int(in.holder.Fd())
	}
	_ = Notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic()))
	syscall.ForkLock.Lock() // nobody is started while these are inherited
	for _, fd := range numbers {
		unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
	err = syscall.Exec(path, os.Args, in.passOn(numbers, directory))
	for _, fd := range numbers {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.Unlock()
	s.Restart()
	_ = Notify("READY=1")
	return fmt.Errorf("hand over to %s: %w", path, err)
}

func monotonic() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano() / 1000
}

// TrustedProgram is the path of this program, if nobody but root and this user
// can put another one there: the file and every directory above it must be
// owned by one of them, and writable by nobody else. A directory like /tmp,
// where each may remove only what is theirs, is as good.
func TrustedProgram() (string, error) {
	path, err := os.Executable() // as it was at the start, whatever lies there now
	if err != nil {
		return "", fmt.Errorf("hand over: %w", err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", fmt.Errorf("hand over: %w", err)
	}
	for p := path; ; p = filepath.Dir(p) {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return "", fmt.Errorf("hand over to %s: %s: %w", path, p, err)
		}
		sticky := st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&unix.S_ISVTX != 0
		if int(st.Uid) != 0 && int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 && !sticky {
			return "", fmt.Errorf("hand over to %s: others than root and this user can change %s", path, p)
		}
		if p == path && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0) {
			return "", fmt.Errorf("hand over to %s: no program", path)
		}
		if p == "/" {
			return path, nil
		}
	}
}
