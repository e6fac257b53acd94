package supervise

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/session"
)

// A closer is this program with this command.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == CloserName {
		if err := Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A closer is there from Start to Stop, whoever kills one meanwhile, and holds
// nothing afterwards.
func TestCloserStaysUntilItIsStopped(t *testing.T) {
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("SKIPPED, NOT TESTED: %v", err)
	}
	defer device.Close()
	journal, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	point := t.TempDir()
	c := NewCloser(&session.Lifeline{Device: device, Journal: journal}, point, func(w string) { t.Error(w) })
	c.Start()
	c.Start() // there is one already
	first := theOnly(t, point)
	if err := unix.Kill(first, unix.SIGTERM); err != nil { // is meant for its server
		t.Error(err)
	}
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if now := closersOf(point); len(now) == 1 && now[0] != first {
			break
		} else if time.Since(begun) > 10*time.Second {
			t.Fatalf("after a kill there are %v", now)
		}
	}
	if !c.Stop() || c.Stop() {
		t.Error("there was none, or two")
	}
	for begun := time.Now(); len(closersOf(point)) > 0; time.Sleep(10 * time.Millisecond) { // the race detector takes a second to exit
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("after a stop there are %v", closersOf(point))
		}
	}
	c.Start()
	theOnly(t, point)
	c.Stop()
}

func theOnly(t *testing.T, point string) int {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		if all := closersOf(point); len(all) == 1 {
			return all[0]
		}
	}
	t.Fatalf("there are %v", closersOf(point))
	return 0
}

// closersOf are the closers that we have started for a mountpoint and that have
// not ended.
func closersOf(point string) (found []int) {
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		children, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		for child := range strings.FieldsSeq(string(children)) {
			line, _ := os.ReadFile("/proc/" + child + "/cmdline")
			if strings.Contains(string(line), "\x00"+CloserName+"\x00"+point+"\x00") {
				var pid int
				fmt.Sscan(child, &pid)
				found = append(found, pid)
			}
		}
	}
	return found
}

// A process is stranded when its first thread has ended and no other one runs; a
// zombie is, a process that works is not, and one that is gone is not either.
func TestStranded(t *testing.T) {
	if stranded(os.Getpid()) {
		t.Error("this process is stranded")
	}
	p, err := os.StartProcess("/proc/self/exe", []string{os.Args[0], CloserName}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); !stranded(p.Pid); time.Sleep(time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			t.Fatal("a zombie is not stranded")
		}
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if stranded(p.Pid) {
		t.Error("who is gone is stranded")
	}
}
