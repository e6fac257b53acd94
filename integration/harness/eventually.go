package harness

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience bounds every wait for something that should be there soon: it is far
// from what anything takes on a busy machine.
const Patience = 20 * time.Second

// Eventually waits until a condition holds, and ends the test when that takes
// longer than Patience. what says what is waited for, and seen what there was
// instead.
func Eventually(t testing.TB, what string, done func() bool, seen ...func() string) {
	t.Helper()
	Within(t, Patience, what, done, seen...)
}

// Within is Eventually where the time that it may take is the claim, or where
// more than one thing is waited for.
func Within(t testing.TB, limit time.Duration, what string, done func() bool, seen ...func() string) {
	t.Helper()
	pause := time.Millisecond
	for begun := time.Now(); !done(); pause = min(2*pause, 20*time.Millisecond) {
		if time.Since(begun) > limit {
			var instead strings.Builder
			for _, s := range seen {
				instead.WriteString("\n" + s())
			}
			t.Fatalf("not within %v: %s%s", limit, what, &instead)
		}
		time.Sleep(pause)
	}
}

// WaitGone waits until no process names a mountpoint.
func WaitGone(t testing.TB, mnt string) {
	t.Helper()
	Eventually(t, "no process names "+mnt, func() bool { return len(ProcessesNaming(mnt)) == 0 },
		func() string { return strings.Join(ProcessesNaming(mnt), "\n") })
}

// WaitLines waits until a file has n lines with a text.
func WaitLines(t testing.TB, path, text string, n int) {
	t.Helper()
	Eventually(t, "lines with "+text+" in "+path+": "+Itoa(n), func() bool {
		b, _ := os.ReadFile(path)
		return bytes.Count(b, []byte(text)) >= n
	})
}

// WaitRead waits for a replacement to be served.
func WaitRead(t testing.TB, path, want string) {
	t.Helper()
	got := ""
	Eventually(t, path+" reads the new version", func() bool {
		got = Read(t, path)
		return got == want
	}, func() string { return got[:min(40, len(got))] })
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
