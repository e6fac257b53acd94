package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// However often the server is killed while it opens a file, the opener waits
// for the one that does.
func TestServerKilledWhileOpening(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		l := newLab(t)
		source := t.TempDir()
		put(t, filepath.Join(source, "a.cipher"), seal(t, l, "the right bytes"))
		h := inBackground(t, l, source, mode)
		fault(t, l, map[string]any{"action": "Decrypt", "delay": "1m"})
		type result struct {
			text string
			err  error
		}
		done := make(chan result, 1)
		go func() {
			b, err := os.ReadFile(h.path("a"))
			done <- result{string(b), err}
		}()
		_, server := h.pids()
		for n := range 5 {
			for begun := time.Now(); decrypts(t, l) == n; time.Sleep(time.Millisecond) {
				if time.Since(begun) > patience {
					t.Fatalf("the file is not being decrypted after %d kills", n)
				}
				select {
				case r := <-done:
					t.Fatalf("the opener got %q, %v after %d kills", r.text, r.err, n)
				default:
				}
			}
			syscall.Kill(server, syscall.SIGKILL)
			server = h.serverOtherThan(t, server)
		}
		mend(t, l)
		if r := <-done; r.text != "the right bytes" || r.err != nil {
			t.Errorf("the opener got %q, %v", r.text, r.err)
		}
		h.umount(t, l)
	})
}

// A server that is killed while it takes back pages which a READ of its own
// has locked cannot end before that READ is answered: by its successor.
func TestServerKilledWhileDropping(t *testing.T) {
	l := newLab(t)
	source := t.TempDir()
	put(t, filepath.Join(source, "a.cipher"), seal(t, l, "the right bytes"))
	h := inBackground(t, l, source, "open=fast")
	fault(t, l, map[string]any{"action": "Decrypt", "delay": "1m"})
	done := make(chan string, 1)
	go func() {
		b, err := os.ReadFile(h.path("a"))
		if err != nil {
			b = []byte(err.Error())
		}
		done <- string(b)
	}()
	eventually(t, "the file is being decrypted", func() bool { return decrypts(t, l) > 0 })
	_, server := h.pids()
	flush := l.Command("flush", h.Point, "a")
	if err := flush.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a thread of the server waits in the kernel", func() bool { return uninterruptible(server) })
	syscall.Kill(server, syscall.SIGKILL)
	mend(t, l)
	select {
	case got := <-done:
		if got != "the right bytes" {
			t.Errorf("the reader got %q", got)
		}
	case <-time.After(patience):
		t.Error("the reader waits for a server that cannot end")
	}
	flush.Wait()
	h.umount(t, l)
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
