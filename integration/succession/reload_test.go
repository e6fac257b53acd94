package succession_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// A reload makes the process another program under the same pid, and an open
// descriptor stays valid.
func TestReloadKeepsPIDAndDescriptors(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		source := t.TempDir()
		harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "before and after"))
		h := harness.InBackground(t, l, source, "ttl=1h", mode)
		f, err := os.Open(h.Path("a"))
		if err != nil {
			t.Fatal(err)
		}
		check := func() {
			t.Helper()
			b, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
			if err != nil || string(b) != "before and after" {
				t.Errorf("the open descriptor reads %q, %v", b, err)
			}
			if got := harness.Read(t, h.Path("a")); got != "before and after" {
				t.Errorf("reads %q", got)
			}
		}
		check()
		_, server := h.PIDs()
		for n := range 3 {
			calls := harness.Decrypts(t, l)
			if out, err := l.Kmsfs(nil, "reload", h.Point); err != nil || !strings.Contains(out, "process "+harness.Itoa(server)+", version ") {
				t.Fatalf("%q, %v", out, err)
			}
			check()
			if n := harness.Decrypts(t, l); n != calls+1 {
				t.Errorf("%d calls after a reload, want 1: no plaintext is passed on", n-calls)
			}
			harness.WaitLines(t, h.LogFile, "successor took over", n+1)
		}
		f.Close()
		h.Umount(t, l)
	})
}

// A crash does not bring pages back to life: what open=fast had in the page
// cache is asked for anew.
func TestFastSuccessorDropsPages(t *testing.T) {
	l := harness.NewLab(t)
	source := t.TempDir()
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "in the page cache"))
	h := harness.InBackground(t, l, source, "ttl=1h", "open=fast")
	f, err := os.Open(h.Path("a"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
		if err != nil || string(b) != "in the page cache" {
			t.Fatalf("%q, %v", b, err)
		}
		if got := harness.Decrypts(t, l); got != n+1 {
			t.Fatalf("%d calls after %d crashes", got, n)
		}
		_, server := h.PIDs()
		if err := syscall.Kill(server, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		h.ServerOtherThan(t, server)
		harness.WaitLines(t, h.LogFile, "successor took over\" mountpoint", n+1)
		harness.WaitLines(t, h.LogFile, "msg=mounted", n+2)
	}
	f.Close()
	h.Umount(t, l)
}

// A program that somebody else could have put there is not run.
func TestReloadRunsNoUnsafeProgram(t *testing.T) {
	l := harness.NewLab(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "kmsfs")
	b, err := os.ReadFile(filepath.Join(harness.BinDir, "kmsfs"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, b, 0o755); err != nil {
		t.Fatal(err)
	}
	emulator, err := filepath.Abs(filepath.Join(harness.BinDir, "kms-emulator"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(emulator, filepath.Join(dir, "kms-emulator")); err != nil {
		t.Fatal(err)
	}
	other := *l
	other.Bin = dir
	m := harness.Mount(t, &other, "")
	if err := os.Chmod(program, 0o777); err != nil {
		t.Fatal(err)
	}
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "served on"))
	out, err := other.Kmsfs(nil, "reload", m.Point)
	if err == nil || !strings.Contains(err.Error(), "others than root and this user can change") || !strings.Contains(err.Error(), "hint: ") {
		t.Errorf("%q, %v", out, err)
	}
	if got := harness.Read(t, m.Path("a")); got != "served on" {
		t.Errorf("reads %q", got)
	}
}
