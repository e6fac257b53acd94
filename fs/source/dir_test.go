package source

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newDir makes a tree beside a secret that must never be reached.
func newDir(t *testing.T) (*Dir, string) {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "source")
	for _, d := range []string{"source/d", "outside"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"source/d/f": "inside", "outside/f": "outside"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, root
}

// While a directory is swapped with a link to another one, reads give what is
// inside or fail; never what is outside.
func TestSourceIsConfinedInRaces(t *testing.T) {
	s, root := newDir(t)
	dir := filepath.Join(root, "source/d")
	if err := os.Symlink(filepath.Join(root, "outside"), filepath.Join(root, "source/link")); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		swaps := 0
		for {
			select {
			case <-stop:
				done <- swaps
				return
			default:
			}
			if err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, filepath.Join(root, "source/link"), unix.RENAME_EXCHANGE); err != nil {
				t.Error(err)
				done <- swaps
				return
			}
			swaps++
		}
	}()
	inside, refused := 0, 0
	for begun := time.Now(); time.Since(begun) < time.Second; {
		b, _, err := s.ReadFile("d/f", make([]byte, 100))
		switch {
		case err == nil && string(b) == "inside":
			inside++
		case err == unix.ELOOP || err == unix.ENOTDIR || err == unix.EXDEV:
			refused++
		default:
			t.Fatalf("%q, %v", b, err)
		}
	}
	close(stop)
	if swaps := <-done; swaps < 100 || inside == 0 || refused == 0 {
		t.Errorf("no race: %d swaps, %d reads, %d refusals", swaps, inside, refused)
	}
}

func TestSourceRefuses(t *testing.T) {
	s, root := newDir(t)
	for link, target := range map[string]string{"abs": filepath.Join(root, "outside"), "up": "../outside", "proc": "/proc/self/root"} {
		if err := os.Symlink(target, filepath.Join(root, "source", link)); err != nil {
			t.Fatal(err)
		}
		if b, _, err := s.ReadFile(link+"/f", make([]byte, 100)); err != unix.ELOOP {
			t.Errorf("%s: %q, %v; want ELOOP", link, b, err)
		}
		if s.IsDir(link) {
			t.Errorf("%s counts as a directory beneath the source", link)
		}
	}
	for _, rel := range []string{"../outside/f", "d/../../outside/f", "/etc/passwd"} {
		if b, _, err := s.ReadFile(rel, make([]byte, 100)); err != unix.EXDEV {
			t.Errorf("%s: %q, %v; want EXDEV", rel, b, err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(root, "source/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.ReadFile("fifo", make([]byte, 100)); err != unix.EINVAL {
		t.Errorf("a FIFO: %v, want EINVAL", err)
	}
	if b, st, err := s.ReadFile("d/f", make([]byte, 3)); err != nil || b != nil || st.Size != 6 {
		t.Errorf("a file over the limit: %q, size %d, %v", b, st.Size, err)
	}
	if _, err := Open(filepath.Join(root, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no source: %v", err)
	}
}

// A successor judges the file system of the source as its predecessor did.
func TestInheritedIsLocalToo(t *testing.T) {
	for name, want := range map[string]bool{t.TempDir(): true, "/proc": false} {
		d, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if d.IsLocal() != want {
			t.Errorf("%s is local: %t", name, !want)
		}
		next := Inherited(d.File())
		for begun := time.Now(); next.IsLocal() != want && time.Since(begun) < 10*time.Second; {
			time.Sleep(time.Millisecond)
		}
		if next.IsLocal() != want {
			t.Errorf("%s is local for a successor: %t", name, !want)
		}
		d.Close()
	}
}
