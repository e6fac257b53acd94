package failure_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// A reader who gives up is let go at once; what he waited for goes on for
// others. One who handles the signal gets EINTR where kmsfs is asked; a wait
// for a page of the kernel's, in open=fast, ends for those only whom the signal
// kills.
func TestInterruptedReaderIsLetGoAtOnce(t *testing.T) { harness.EachMode(t, testInterrupt) }

func testInterrupt(t *testing.T, mode string) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", mode, "timeout=30s")
	harness.Put(t, m.InSource("slow.cipher"), harness.Seal(t, l, "worth waiting for"))
	waiting := requests(t, m)
	if err := l.ResetCalls(); err != nil {
		t.Fatal(err)
	}
	if err := l.Fault(map[string]any{"action": "Decrypt", "hang": true}); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	// perl's handlers do not restart a system call, and so it sees EINTR.
	impatient := exec.Command("perl", "-e", `$SIG{INT} = sub {}; sysopen(my $f, $ARGV[0], 0) and exit 0; exit $! + 0`, m.Path("slow"))
	if mode == "open=fast" {
		impatient = exec.Command("cat", m.Path("slow"))
	}
	if err := impatient.Start(); err != nil {
		t.Fatal(err)
	}
	defer impatient.Process.Kill()
	waiting(1)
	var got strings.Builder
	patient := exec.Command("cat", m.Path("slow"))
	patient.Stdout = &got
	if err := patient.Start(); err != nil {
		t.Fatal(err)
	}
	defer patient.Process.Kill()
	if mode == "open=fast" { // they wait for one request
		harness.Eventually(t, "the other reader has opened the file", func() bool {
			return slices.ContainsFunc(harness.DescriptorsOf(t, patient.Process.Pid), func(d string) bool { return strings.HasSuffix(d, " "+m.Path("slow")) })
		})
	} else {
		waiting(2)
	}
	interrupted := time.Now()
	if err := impatient.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	impatient.Wait()
	if d := time.Since(interrupted); d > 2*time.Second {
		t.Errorf("the interrupted reader ended after %v", d)
	}
	ended := impatient.ProcessState.Sys().(syscall.WaitStatus)
	if mode == "open=fast" && ended.Signal() != syscall.SIGINT || mode != "open=fast" && ended.ExitStatus() != int(syscall.EINTR) {
		t.Errorf("the interrupted reader ended with %v", impatient.ProcessState)
	}
	waiting(1) // the other one, still
	if err := l.ClearFaults(); err != nil {
		t.Fatal(err)
	}
	if err := patient.Wait(); err != nil || got.String() != "worth waiting for" {
		t.Errorf("the other reader: %q, %v", &got, err)
	}
	if n, most := harness.Decrypts(t, l), 1+int(time.Since(begun)/(3*time.Second)); n > most {
		t.Errorf("%d calls, want %d", n, most)
	}
}

// While many files wait for a service that hangs, everything else is quick;
// and nothing is left of them afterwards.
func TestHangingServiceBlocksNobodyElse(t *testing.T) { harness.EachModeAtOnce(t, testHangingService) }

func testHangingService(t *testing.T, mode string) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", mode, "timeout=4s")
	harness.Put(t, m.InSource("cached.cipher"), harness.Seal(t, l, "cached"))
	if got := harness.Read(t, m.Path("cached")); got != "cached" {
		t.Fatalf("reads %q", got)
	}
	const blocked = 64
	for i := range blocked {
		harness.Put(t, m.InSource("f"+harness.Itoa(i)+".cipher"), harness.Seal(t, l, "file "+harness.Itoa(i)))
	}
	waiting := requests(t, m)
	before := m.Descriptors(t)
	if err := l.Fault(map[string]any{"action": "Decrypt", "hang": true}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, blocked)
	for i := range blocked {
		go func() { _, err := os.ReadFile(m.Path("f" + harness.Itoa(i))); done <- err }()
	}
	waiting(blocked)
	begun := time.Now()
	if out, err := exec.Command("ls", "-l", m.Point).CombinedOutput(); err != nil || strings.Count(string(out), "\n") < blocked {
		t.Errorf("ls: %v\n%s", err, out)
	}
	if st, err := os.Stat(m.Path("f1")); err != nil || st.Size() != 6 {
		t.Errorf("stat: %v, %v", st, err)
	}
	if out, err := exec.Command("df", m.Point).CombinedOutput(); err != nil {
		t.Errorf("df: %v\n%s", err, out)
	}
	if got := harness.Read(t, m.Path("cached")); got != "cached" {
		t.Errorf("cached reads %q", got)
	}
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("ls, stat, df and a cached read took %v", d)
	}
	for range blocked {
		if err := <-done; !errors.Is(err, syscall.ETIMEDOUT) && !errors.Is(err, syscall.EIO) {
			t.Errorf("a blocked reader got %v", err)
		}
	}
	waiting(0)
	harness.Eventually(t, "no more descriptors than before", func() bool { return len(m.Descriptors(t)) <= len(before) }, func() string {
		return "before:\n" + strings.Join(before, "\n") + "\nafter:\n" + strings.Join(m.Descriptors(t), "\n")
	})
}

// requests returns a function that waits until the kernel has so many requests
// for this mount without an answer.
func requests(t *testing.T, m *harness.Mounted) func(want int) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(m.Point, &st); err != nil {
		t.Fatal(err)
	}
	control := t.TempDir()
	if err := unix.Mount("none", control, "fusectl", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(control, 0); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(control, strconv.FormatUint(uint64(unix.Minor(st.Dev)), 10), "waiting")
	return func(want int) {
		t.Helper()
		got := ""
		harness.Eventually(t, strconv.Itoa(want)+" requests wait", func() bool {
			got = strings.TrimSpace(harness.Read(t, file))
			return got == strconv.Itoa(want)
		}, func() string { return got + " requests wait" })
	}
}
