package harness

import (
	"bytes"
	"os"
	"sync"
	"testing"
	"time"
)

// Eventually waits for a condition.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for begun := time.Now(); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > Patience {
			t.Fatalf("still not: %s", what)
		}
	}
}

// Together runs subtests at the same time: these wait much more than they work.
func Together(t *testing.T, tests map[string]func(*testing.T)) {
	var wg sync.WaitGroup
	for name, test := range tests {
		wg.Go(func() { t.Run(name, test) })
	}
	wg.Wait()
}

// DropSlack is how much later than its TTL a page may leave the kernel on a busy
// machine, while kmsfs lives.
const DropSlack = 3 * time.Second

// ReadSlack is that of reads: they use pages in one mode only.
func ReadSlack(mode string) time.Duration {
	if mode == "open=fast" {
		return DropSlack
	}
	return 0
}

// WaitLines waits until a file has n lines with a text.
func WaitLines(t testing.TB, path, text string, n int) {
	t.Helper()
	for late := time.Now().Add(Patience); ; time.Sleep(5 * time.Millisecond) {
		b, _ := os.ReadFile(path)
		if bytes.Count(b, []byte(text)) >= n {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("%s has not %d lines with %q", path, n, text)
		}
	}
}

// Patience bounds every wait for something that should be there soon.
const Patience = 20 * time.Second

// WaitRead waits for a replacement to be served.
func WaitRead(t testing.TB, path, want string) {
	t.Helper()
	got := ""
	for begun := time.Now(); time.Since(begun) < Patience; {
		if got = Read(t, path); got == want {
			return
		}
	}
	t.Fatalf("%s still reads %.40q", path, got)
}

// soon is when the journal is worth another look.
func soon() chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(20*time.Millisecond, func() { close(c) })
	return c
}

// WaitGone waits until no process names a mountpoint.
func WaitGone(t testing.TB, mnt string) {
	t.Helper()
	for begun := time.Now(); len(ProcessesNaming(mnt)) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > Patience {
			t.Fatalf("still there: %q", ProcessesNaming(mnt))
		}
	}
}
