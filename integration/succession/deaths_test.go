package succession_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// readLater reads a file while the test does other things: it gets the text, or
// why there is none.
func readLater(path string) <-chan string {
	done := make(chan string, 1)
	go func() {
		b, err := os.ReadFile(path)
		if err != nil {
			b = []byte(err.Error())
		}
		done <- string(b)
	}()
	return done
}

// However often the server is killed while it opens a file, the opener waits
// for the one that does.
func TestServerKilledWhileOpening(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		source := t.TempDir()
		harness.Put(t, filepath.Join(source, "a.cipher"), harness.Seal(t, l, "the right bytes"))
		h := harness.InBackground(t, l, source, mode)
		harness.Fault(t, l, map[string]any{"action": "Decrypt", "delay": "1m"})
		done := readLater(h.Path("a"))
		_, server := h.PIDs()
		for n := range 5 {
			harness.Eventually(t, fmt.Sprintf("the file is being decrypted after %d kills", n), func() bool {
				select {
				case got := <-done:
					t.Fatalf("the opener got %q after %d kills", got, n)
				default:
				}
				return harness.Decrypts(t, l) > n
			})
			syscall.Kill(server, syscall.SIGKILL)
			server = h.ServerOtherThan(t, server)
		}
		harness.Mend(t, l)
		if got := <-done; got != "the right bytes" {
			t.Errorf("the opener got %q", got)
		}
		h.Umount(t, l)
	})
}

// A server that is killed while it takes back pages which a READ of its own
// has locked cannot end before that READ is answered: by its successor.
func TestServerKilledWhileDropping(t *testing.T) {
	l := harness.NewLab(t)
	source := t.TempDir()
	harness.Put(t, filepath.Join(source, "a.cipher"), harness.Seal(t, l, "the right bytes"))
	h := harness.InBackground(t, l, source, "open=fast")
	harness.Fault(t, l, map[string]any{"action": "Decrypt", "delay": "1m"})
	done := readLater(h.Path("a"))
	harness.Eventually(t, "the file is being decrypted", func() bool { return harness.Decrypts(t, l) > 0 })
	_, server := h.PIDs()
	flush := l.Command("flush", h.Point, "a")
	if err := flush.Start(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "a thread of the server waits in the kernel", func() bool { return uninterruptible(server) })
	syscall.Kill(server, syscall.SIGKILL)
	harness.Mend(t, l)
	select {
	case got := <-done:
		if got != "the right bytes" {
			t.Errorf("the reader got %q", got)
		}
	case <-time.After(harness.Patience):
		t.Error("the reader waits for a server that cannot end")
	}
	flush.Wait()
	h.Umount(t, l)
}

// uninterruptible tells whether a thread of a process is in a wait that no
// signal ends.
func uninterruptible(pid int) bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, s := range stats {
		b, _ := os.ReadFile(s)
		if _, rest, _ := strings.Cut(string(b), ") "); strings.HasPrefix(rest, "D") {
			return true
		}
	}
	return false
}

// Whatever a server dies of, its readers wait for the next one, and what it
// says last has no plaintext.
func TestReadersWaitWhateverAServerDiesOf(t *testing.T) {
	signal := func(s syscall.Signal) func(*testing.T, int) {
		return func(t *testing.T, server int) {
			if err := syscall.Kill(server, s); err != nil {
				t.Error(err)
			}
		}
	}
	for name, kill := range map[string]func(t *testing.T, server int){
		"abort":         signal(syscall.SIGABRT),
		"panic":         signal(syscall.SIGSEGV), // Go makes one of it
		"quit":          signal(syscall.SIGQUIT),
		"out of memory": outOfMemory,
	} {
		t.Run(name, func(t *testing.T) {
			l := harness.NewLab(t)
			source, plaintext := someSecrets(t, l, 8)
			h := harness.InBackground(t, l, source, "ttl=2s,qps=1000")
			w := harness.StartLoad(t, 3, want(plaintext, h))
			holder, server := h.PIDs()
			for range 3 {
				before := w.Count()
				harness.Eventually(t, "the readers are at work", func() bool { return w.Count() > before+100 })
				kill(t, server)
				server = h.ServerOtherThan(t, server)
			}
			if failed := w.Report(t, "3 deaths"); failed > 0 {
				t.Errorf("%d reads failed", failed)
			}
			if now, _ := h.PIDs(); now != holder {
				t.Errorf("the holder was %d and is %d", holder, now)
			}
			harness.WaitLines(t, h.LogFile, "successor took over\"", 3)
			log := harness.Read(t, h.LogFile)
			if got := strings.Count(log, "msg=\"server died ("); got != 3 {
				t.Errorf("the log tells of %d deaths", got)
			}
			for name, text := range plaintext {
				if first, _, _ := strings.Cut(text, "\n"); strings.Contains(log, first) {
					t.Errorf("the plaintext of %s is in the log", name)
				}
			}
			h.Umount(t, l)
		})
	}
}

// outOfMemory leaves a process no page more, so that the kernel kills it for
// the next one.
func outOfMemory(t *testing.T, pid int) {
	t.Helper()
	root, limit := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.subtree_control"); err == nil && strings.Contains(string(controllers), "memory") {
		root, limit = "/sys/fs/cgroup", "memory.max"
	} else if _, err := os.Stat(root); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: no control over memory is to be had (%v)", err)
	}
	group, err := os.MkdirTemp(root, "kmsfs-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		harness.Eventually(t, "the cgroup is empty", func() bool { return os.Remove(group) == nil })
	})
	for _, set := range []struct{ file, value string }{{limit, "65536"}, {"cgroup.procs", harness.Itoa(pid)}} {
		if err := os.WriteFile(filepath.Join(group, set.file), []byte(set.value), 0); err != nil {
			t.Fatal(err)
		}
	}
	harness.Eventually(t, "the kernel has killed it", func() bool {
		b, err := os.ReadFile(filepath.Join(group, "memory.oom_control"))
		if limit == "memory.max" {
			b, err = os.ReadFile(filepath.Join(group, "memory.events"))
		}
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(b), "oom_kill 1\n")
	})
}

// A call that is under way at a hand-over is made once more, and not again:
// its opener waits for no third one.
func TestReloadRepeatsACallOnce(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		source := t.TempDir()
		harness.Put(t, filepath.Join(source, "a.cipher"), harness.Seal(t, l, "the right bytes"))
		h := harness.InBackground(t, l, source, mode, "ttl=1m")
		harness.Fault(t, l, map[string]any{"action": "Decrypt", "delay": "1s"})
		done := readLater(h.Path("a"))
		harness.Eventually(t, "the file is being decrypted", func() bool { return harness.Decrypts(t, l) == 1 })
		if out, err := l.Kmsfs(nil, "reload", h.Point); err != nil {
			t.Fatal(out, err)
		}
		if got := <-done; got != "the right bytes" {
			t.Errorf("the opener got %q", got)
		}
		if n := harness.Decrypts(t, l); n != 2 {
			t.Errorf("%d calls", n)
		}
		h.Umount(t, l)
	})
}
