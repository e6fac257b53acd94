package integration_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A reload makes the process another program under the same pid, and an open
// descriptor stays valid.
func TestReload(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		l := newLab(t)
		source := t.TempDir()
		put(t, source+"/a.cipher", seal(t, l, "before and after"))
		h := inBackground(t, l, source, "ttl=1h", mode)
		f, err := os.Open(h.path("a"))
		if err != nil {
			t.Fatal(err)
		}
		check := func() {
			t.Helper()
			b, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
			if err != nil || string(b) != "before and after" {
				t.Errorf("the open descriptor reads %q, %v", b, err)
			}
			if got := read(t, h.path("a")); got != "before and after" {
				t.Errorf("reads %q", got)
			}
		}
		check()
		_, server := h.pids()
		for n := range 3 {
			calls := decrypts(t, l)
			if out, err := l.Kmsfs(nil, "reload", h.Point); err != nil || !strings.Contains(out, "process "+itoa(server)+", version ") {
				t.Fatalf("%q, %v", out, err)
			}
			check()
			if n := decrypts(t, l); n != calls+1 {
				t.Errorf("%d calls after a reload, want 1: no plaintext is passed on", n-calls)
			}
			waitLines(t, h.LogFile, "successor took over", n+1)
		}
		f.Close()
		h.umount(t, l)
	})
}

// A crash does not bring pages back to life: what open=fast had in the page
// cache is asked for anew.
func TestFastSuccessorDropsPages(t *testing.T) {
	l := newLab(t)
	source := t.TempDir()
	put(t, source+"/a.cipher", seal(t, l, "in the page cache"))
	h := inBackground(t, l, source, "ttl=1h", "open=fast")
	f, err := os.Open(h.path("a"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
		if err != nil || string(b) != "in the page cache" {
			t.Fatalf("%q, %v", b, err)
		}
		if got := decrypts(t, l); got != n+1 {
			t.Fatalf("%d calls after %d crashes", got, n)
		}
		_, server := h.pids()
		if err := syscall.Kill(server, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		h.serverOtherThan(t, server)
		waitLines(t, h.LogFile, "successor took over\" mountpoint", n+1)
		waitLines(t, h.LogFile, "msg=mounted", n+2)
	}
	f.Close()
	h.umount(t, l)
}

// A program that somebody else could have put there is not run.
func TestReloadOfUnsafeProgram(t *testing.T) {
	l := newLab(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "kmsfs")
	b, err := os.ReadFile(filepath.Join(binDir, "kmsfs"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, b, 0o755); err != nil {
		t.Fatal(err)
	}
	emulator, err := filepath.Abs(filepath.Join(binDir, "kms-emulator"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(emulator, filepath.Join(dir, "kms-emulator")); err != nil {
		t.Fatal(err)
	}
	other := *l
	other.Bin = dir
	m := mount(t, &other, "")
	if err := os.Chmod(program, 0o777); err != nil {
		t.Fatal(err)
	}
	put(t, m.source("a.cipher"), seal(t, l, "served on"))
	out, err := other.Kmsfs(nil, "reload", m.Point)
	if err == nil || !strings.Contains(err.Error(), "others than root and this user can change") || !strings.Contains(err.Error(), "hint: ") {
		t.Errorf("%q, %v", out, err)
	}
	if got := read(t, m.path("a")); got != "served on" {
		t.Errorf("reads %q", got)
	}
}
