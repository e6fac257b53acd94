package fs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestConfine(t *testing.T) {
	for _, c := range []struct {
		rel, target string
		want        bool
	}{
		{"l", "x", true}, {"l", "./x", true}, {"l", "d/x", true}, {"l", "d//x/", true}, {"l", ".", true},
		{"d/l", "../x", true}, {"d/l", "./../x", true}, {"d/e/l", "../../x", true}, {"d/l", "..", true}, {"l", "..data/x", true},
		{"l", "", false}, {"l", "/", false}, {"l", "/etc/passwd", false}, {"l", "..", false}, {"l", "../x", false},
		{"d/l", "../../x", false}, {"d/l", "x/../y", false}, {"d/e/l", "../x/../../../y", false}, {"l", "./../x", false}, {"l", "x\x00y", false},
	} {
		if got := confine(c.rel, c.target); got != c.want {
			t.Errorf("confine(%q, %q) = %t", c.rel, c.target, got)
		}
	}
}

func TestShownNames(t *testing.T) {
	for _, c := range []struct {
		name        string
		typ         uint32
		hide, plain string
	}{
		{"a.cipher", modeFile, "a", "a"}, {"a.cipher.cipher", modeFile, "a.cipher", "a.cipher"}, {".cipher", modeFile, "", ""},
		{"a", modeFile, "", "a"}, {"a.cipher", modeDir, "a.cipher", "a.cipher"}, {"a", modeDir, "a", "a"}, {".cipher", modeDir, ".cipher", ".cipher"},
		{"a.cipher", modeLink, "a", "a"}, {"a", modeLink, "a", "a"}, {".cipher", modeLink, "", ""}, {"a.Cipher", modeFile, "", "a.Cipher"},
	} {
		if got := shownName(dirent{c.name, c.typ}, false); got != c.hide {
			t.Errorf("%q: %q, want %q", c.name, got, c.hide)
		}
		if got := shownName(dirent{c.name, c.typ}, true); got != c.plain {
			t.Errorf("%q, plain: %q, want %q", c.name, got, c.plain)
		}
	}
}

// newSource makes a tree beside a secret that must never be reached.
func newSource(t *testing.T) (*source, string) {
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
	s, err := openSource(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s, root
}

// While a directory is swapped with a link to another one, reads give what is
// inside or fail; never what is outside.
func TestSourceIsConfinedInRaces(t *testing.T) {
	s, root := newSource(t)
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
		b, _, err := s.readFile("d/f", make([]byte, 100))
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
	s, root := newSource(t)
	for link, target := range map[string]string{"abs": filepath.Join(root, "outside"), "up": "../outside", "proc": "/proc/self/root"} {
		if err := os.Symlink(target, filepath.Join(root, "source", link)); err != nil {
			t.Fatal(err)
		}
		if b, _, err := s.readFile(link+"/f", make([]byte, 100)); err != unix.ELOOP {
			t.Errorf("%s: %q, %v; want ELOOP", link, b, err)
		}
		if s.isDir(link) {
			t.Errorf("%s counts as a directory beneath the source", link)
		}
	}
	for _, rel := range []string{"../outside/f", "d/../../outside/f", "/etc/passwd"} {
		if b, _, err := s.readFile(rel, make([]byte, 100)); err != unix.EXDEV {
			t.Errorf("%s: %q, %v; want EXDEV", rel, b, err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(root, "source/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.readFile("fifo", make([]byte, 100)); err != unix.EINVAL {
		t.Errorf("a FIFO: %v, want EINVAL", err)
	}
	if b, st, err := s.readFile("d/f", make([]byte, 3)); err != nil || b != nil || st.Size != 6 {
		t.Errorf("a file over the limit: %q, size %d, %v", b, st.Size, err)
	}
	if _, err := openSource(filepath.Join(root, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no source: %v", err)
	}
}
