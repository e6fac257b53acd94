package ui

import (
	"bytes"
	"os"
	"testing"
)

// A line is written over only where that works.
func TestProgressTo(t *testing.T) {
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("SKIPPED, NOT TESTED: %v", err)
	}
	defer pty.Close()
	for kind, want := range map[string]bool{"xterm-256color": true, "linux": true, "dumb": false, "": false} {
		if got := ShowsProgress(pty, func(string) string { return kind }); got != want {
			t.Errorf("TERM=%s: %t", kind, got)
		}
	}
	if ShowsProgress(&bytes.Buffer{}, func(string) string { return "xterm" }) {
		t.Error("no terminal")
	}
}
