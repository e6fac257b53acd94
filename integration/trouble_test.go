package integration_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A ciphertext that the service cannot open costs one call, not one per open.
func TestBadCiphertextIsRemembered(t *testing.T) {
	l := newLab(t)
	m := mount(t, l, "")
	blob := []byte(seal(t, l, "will be damaged"))
	i := len(blob) / 2
	if blob[i]++; blob[i] > 'y' || blob[i] < 'A' {
		blob[i] = 'B'
	}
	put(t, m.source("bad.cipher"), string(blob))
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(m.source("bad.cipher"), old, old); err != nil {
		t.Fatal(err)
	}
	<-time.After(150 * time.Millisecond) // a file changed this instant is given time to settle
	if err := l.ResetCalls(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if b, err := os.ReadFile(m.path("bad")); !errors.Is(err, syscall.EBADMSG) {
			t.Fatalf("%q, %v; want EBADMSG", b, err)
		}
	}
	if n := decrypts(t, l); n != 1 {
		t.Errorf("%d calls for 20 opens, want 1", n)
	}
}

// A reader who gives up is let go at once; what he waited for goes on.
func TestInterrupt(t *testing.T) {
	l := newLab(t)
	m := mount(t, l, "")
	put(t, m.source("slow.cipher"), seal(t, l, "worth waiting for"))
	if err := l.ResetCalls(); err != nil {
		t.Fatal(err)
	}
	if err := l.Fault(map[string]any{"action": "Decrypt", "count": 1, "delay": "1500ms"}); err != nil {
		t.Fatal(err)
	}
	cat := exec.Command("cat", m.path("slow"))
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); decrypts(t, l) == 0; {
		if time.Since(begun) > patience {
			t.Fatal("no call")
		}
	}
	begun := time.Now()
	cat.Process.Signal(syscall.SIGINT)
	cat.Wait()
	if d := time.Since(begun); d > time.Second {
		t.Errorf("the interrupted reader waited for %v", d)
	}
	if got := read(t, m.path("slow")); got != "worth waiting for" {
		t.Errorf("reads %q", got)
	}
	if n := decrypts(t, l); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

// While many files wait for a service that hangs, everything else is quick.
func TestHangingServiceBlocksNobodyElse(t *testing.T) {
	l := newLab(t)
	m := mount(t, l, "", "timeout=4s")
	put(t, m.source("cached.cipher"), seal(t, l, "cached"))
	if got := read(t, m.path("cached")); got != "cached" {
		t.Fatalf("reads %q", got)
	}
	const blocked = 64
	for i := range blocked {
		put(t, m.source("f"+itoa(i)+".cipher"), seal(t, l, "file "+itoa(i)))
	}
	if err := l.Fault(map[string]any{"action": "Decrypt", "hang": true}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, blocked)
	for i := range blocked {
		go func() { _, err := os.ReadFile(m.path("f" + itoa(i))); done <- err }()
	}
	calls := decrypts(t, l)
	for begun := time.Now(); calls < 10; calls = decrypts(t, l) {
		if time.Since(begun) > patience {
			t.Fatalf("only %d calls wait", calls)
		}
	}
	begun := time.Now()
	if out, err := exec.Command("ls", "-l", m.Point).CombinedOutput(); err != nil || strings.Count(string(out), "\n") < blocked {
		t.Errorf("ls: %v\n%s", err, out)
	}
	if _, err := os.Stat(m.path("f1")); err != nil {
		t.Error(err)
	}
	if got := read(t, m.path("cached")); got != "cached" {
		t.Errorf("cached reads %q", got)
	}
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("ls, stat and a cached read took %v", d)
	}
	for range blocked {
		if err := <-done; !errors.Is(err, syscall.ETIMEDOUT) && !errors.Is(err, syscall.EIO) {
			t.Errorf("a blocked reader got %v", err)
		}
	}
}

// With the service gone, mounting works and so does listing; only opens fail.
func TestMountNeedsNoNetwork(t *testing.T) {
	l := newLab(t)
	source := t.TempDir()
	put(t, source+"/a.cipher", seal(t, l, "needs the service"))
	l.KillEmulator()
	m := mount(t, l, source, "timeout=2s")
	if st, err := os.Stat(m.path("a")); err != nil || st.Size() != 17 {
		t.Errorf("stat: %v, %v", st, err)
	}
	if _, err := os.ReadFile(m.path("a")); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("open: %v, want ETIMEDOUT", err)
	}
	if err := l.StartEmulator(l.Endpoint); err != nil {
		t.Fatal(err)
	}
	if got := read(t, m.path("a")); got != "needs the service" {
		t.Errorf("after the service is back: %q", got)
	}
}
