package integration_test

import (
	"os"
	"path/filepath"
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
