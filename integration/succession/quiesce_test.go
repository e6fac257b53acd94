package succession_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// While a thread of the server waits in the kernel to take pages back, behind a
// read of a file that KMS is slow with, a hand-over keeps nobody from other
// files, and the slow reader gets his bytes.
func TestReloadWhileDropping(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode)
		reader := dropping(t, l, m)
		harness.Mend(t, l) // but the call under way goes on
		m.Signal(t, syscall.SIGHUP)
		for begun := time.Now(); time.Since(begun) < 5*time.Second; {
			at := time.Now()
			if got := harness.Read(t, m.Path("b")); got != "b" || time.Since(at) > time.Second {
				t.Fatalf("b reads %q after %v", got, time.Since(at))
			}
		}
		if got := reader.Hear(); got != "s" {
			t.Errorf("the slow reader got %q", got)
		}
		m.WaitLog(t, "successor took over")
		if got := harness.Read(t, m.Path("slow")); got != "slow" {
			t.Errorf("afterwards: %q", got)
		}
	})
}

// A stop at such a moment ends the server, and the reader with an error: at once,
// or, as a service that may be restarted, no later than the read would have.
func TestStopWhileDropping(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "timeout=6s")
		reader := dropping(t, l, m)
		begun := time.Now()
		m.Signal(t, syscall.SIGTERM)
		m.WaitEnd(t)
		if took := time.Since(begun); took > 9*time.Second {
			t.Errorf("the server ended after %v", took)
		}
		if got := reader.Hear(); got == "s" {
			t.Errorf("the reader got %q", got)
		}
	})
}

// A kill at such a moment ends the server, too, and the reader with an error at
// once: no other process will answer, and none is needed to end the wait.
func TestKillWhileDroppingEndsInTime(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode)
		reader := dropping(t, l, m)
		begun := time.Now()
		m.Kill(t)
		if got := reader.Hear(); got != "SIGBUS" || time.Since(begun) > 2*time.Second {
			t.Errorf("the reader got %q after %v", got, time.Since(begun))
		}
		// What is asked in the moment of the end is aborted.
		if _, err := os.Lstat(m.Path("another")); !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
			t.Errorf("the mount has not ended: %v", err)
		}
	})
}

// dropping returns somebody who touches a mapping, for which KMS is slow, while
// a flush waits in the kernel for that. File b is cached.
func dropping(t *testing.T, l *lab.Lab, m *harness.Mounted) *harness.Toucher {
	t.Helper()
	harness.Put(t, m.InSource("slow.cipher"), harness.Seal(t, l, "slow"))
	harness.Put(t, m.InSource("b.cipher"), harness.Seal(t, l, "b"))
	reader := harness.MapFile(t, "shared", m.Path("slow"))
	if got := reader.Touch(); got != "s" {
		t.Fatalf("the mapping shows %q", got)
	}
	harness.Flush(t, l, m.Point)
	harness.Read(t, m.Path("b"))
	harness.Fault(t, l, map[string]any{"action": "Decrypt", "delay": "1m"})
	before := harness.Decrypts(t, l)
	reader.Begin()
	harness.Eventually(t, "the page is being read", func() bool { return harness.Decrypts(t, l) > before })
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		for begun := time.Now(); time.Since(begun) < harness.Patience; { // one a second is possible
			if out, err := l.Command("flush", m.Point, "slow").CombinedOutput(); err == nil || !strings.Contains(string(out), "too many flushes") {
				return
			}
		}
	}()
	t.Cleanup(func() { <-flushed })
	harness.Eventually(t, "a thread of the server waits in the kernel", func() bool { return uninterruptible(m.PID) })
	return reader
}
