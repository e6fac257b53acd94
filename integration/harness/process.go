package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// ProcessesNaming lists live processes whose command line names a directory, other
// than this one.
func ProcessesNaming(dir string) []string {
	var found []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		cmdline, err := os.ReadFile(d + "/cmdline")
		if err != nil || filepath.Base(d) == fmt.Sprint(os.Getpid()) || !strings.Contains(string(cmdline), dir) {
			continue // zombies have no command line
		}
		found = append(found, filepath.Base(d)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
	}
	return found
}

// ProcessesOf lists the processes that have a directory in their executable,
// working directory or arguments: the built programs, openssl, nginx and its
// workers.
func ProcessesOf(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		proc := filepath.Join("/proc", e.Name())
		exe, _ := os.Readlink(filepath.Join(proc, "exe"))
		cwd, _ := os.Readlink(filepath.Join(proc, "cwd"))
		args, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		if strings.Contains(exe+" "+cwd+" "+string(args), dir) {
			found = append(found, fmt.Sprintf("%d %s %s", pid, exe, bytes.ReplaceAll(args, []byte{0}, []byte(" "))))
		}
	}
	return found
}

// DescriptorsOf are what a process has open, each with its number.
func DescriptorsOf(t *testing.T, pid int) []string {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, e := range entries {
		to, _ := os.Readlink(filepath.Join(dir, e.Name()))
		open = append(open, e.Name()+" "+to)
	}
	return open
}

// Descriptors are what the process has open.
func (m *Mounted) Descriptors(t *testing.T) []string { return DescriptorsOf(t, m.PID) }

// OtherUsersProgram is this program, where another user may run it.
func OtherUsersProgram(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("cp", self, program).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	LetOthersPass(t, filepath.Dir(program))
	return program
}

// Stop stops processes that this test has started, as job control does.
func Stop(t testing.TB, pids []int) { signalAll(t, pids, syscall.SIGSTOP) }

// Proceed lets stopped processes go on.
func Proceed(t testing.TB, pids []int) { signalAll(t, pids, syscall.SIGCONT) }

func signalAll(t testing.TB, pids []int, s syscall.Signal) {
	t.Helper()
	if len(pids) == 0 {
		t.Fatal("there is no process")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, s); err != nil {
			t.Error(err)
		}
	}
}

// Itoa is a number in decimal.
func Itoa[T ~int | ~uint32 | ~uintptr](n T) string { return strconv.FormatUint(uint64(n), 10) }

// KernelOlderThan compares the running kernel's version.
func KernelOlderThan(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a < major || a == major && b < minor
}

// Undisturbed lets the calling goroutine run before everything else on the machine:
// a writer that is left waiting in the middle of a file is another matter than
// a race. What it returns ends that.
func Undisturbed(t testing.TB) (end func()) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0); err != nil {
		t.Errorf("run undisturbed: %v", err)
	}
	return func() {
		// A thread that ended would take the processes along that it started.
		if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0); err != nil {
			t.Errorf("run as everybody does: %v", err)
		}
		runtime.UnlockOSThread()
	}
}
