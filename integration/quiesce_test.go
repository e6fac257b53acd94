package integration_test

import (
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// While a thread of the server waits in the kernel to take pages back, behind a
// read of a file that KMS is slow with, a hand-over keeps nobody from other
// files, and the slow reader gets his bytes.
func TestReloadWhileDropping(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		l := newLab(t)
		m := mount(t, l, "", mode)
		reader := dropping(t, l, m)
		mend(t, l) // but the call under way goes on
		m.signal(t, syscall.SIGHUP)
		for begun := time.Now(); time.Since(begun) < 5*time.Second; {
			at := time.Now()
			if got := read(t, m.path("b")); got != "b" || time.Since(at) > time.Second {
				t.Fatalf("b reads %q after %v", got, time.Since(at))
			}
		}
		if got := reader.hear(); got != "s" {
			t.Errorf("the slow reader got %q", got)
		}
		m.waitLog(t, "successor took over")
		if got := read(t, m.path("slow")); got != "slow" {
			t.Errorf("afterwards: %q", got)
		}
	})
}

// A stop at such a moment ends the server, and the reader with an error: at once,
// or, as a service that may be restarted, no later than the read would have.
func TestStopWhileDropping(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		l := newLab(t)
		m := mount(t, l, "", mode, "timeout=6s")
		reader := dropping(t, l, m)
		begun := time.Now()
		m.signal(t, syscall.SIGTERM)
		m.ends(t)
		if took := time.Since(begun); took > 9*time.Second {
			t.Errorf("the server ended after %v", took)
		}
		if got := reader.hear(); got == "s" {
			t.Errorf("the reader got %q", got)
		}
	})
}

// dropping returns somebody who touches a mapping, for which KMS is slow, while
// a flush waits in the kernel for that. File b is cached.
func dropping(t *testing.T, l *lab.Lab, m *mounted) *toucher {
	t.Helper()
	put(t, m.source("slow.cipher"), seal(t, l, "slow"))
	put(t, m.source("b.cipher"), seal(t, l, "b"))
	reader := mapFile(t, "shared", m.path("slow"))
	if got := reader.touch(); got != "s" {
		t.Fatalf("the mapping shows %q", got)
	}
	flushNow(t, l, m.Point)
	read(t, m.path("b"))
	fault(t, l, map[string]any{"action": "Decrypt", "delay": "1m"})
	before := decrypts(t, l)
	if _, err := io.WriteString(reader.tell, "\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the page is being read", func() bool { return decrypts(t, l) > before })
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		for begun := time.Now(); time.Since(begun) < patience; { // one a second is possible
			if out, err := l.Command("flush", m.Point, "slow").CombinedOutput(); err == nil || !strings.Contains(string(out), "too many flushes") {
				return
			}
		}
	}()
	t.Cleanup(func() { <-flushed })
	eventually(t, "a thread of the server waits in the kernel", func() bool { return uninterruptible(m.PID) })
	return reader
}
