package invalidate

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/fs/source"
)

// watching pushes changes of a new source to a kernel.
func watching(t *testing.T) (dir string, w *Names, k *kernel) {
	t.Helper()
	dir = t.TempDir()
	src, err := source.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	k = &kernel{}
	w = NewNames(src, slog.New(slog.DiscardHandler))
	w.Start(k)
	t.Cleanup(func() {
		w.Close()
		src.Close()
	})
	return dir, w, k
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// However a name changes, the kernel asks for it again: for the shown name of a
// ciphertext, and for the name itself.
func TestEachChangeIsPushed(t *testing.T) {
	dir, w, k := watching(t)
	at := func(s string) string { return filepath.Join(dir, s) }
	must(t, os.WriteFile(at("key.cipher"), []byte("one"), 0o600), os.WriteFile(at("other"), nil, 0o600))
	if !w.Add(1, "") {
		t.Fatal("it is not watched")
	}
	for _, c := range []struct {
		what   string
		change func() error
		pushed []string
	}{
		{"made", func() error { return os.WriteFile(at("new.cipher"), nil, 0o600) }, []string{"new", "new.cipher"}},
		{"written in place", func() error { return os.WriteFile(at("key.cipher"), []byte("two"), 0o600) }, []string{"key", "key.cipher"}},
		{"renamed over", func() error { return os.Rename(at("new.cipher"), at("key.cipher")) }, []string{"new", "new.cipher", "key", "key.cipher"}},
		{"another mode", func() error { return os.Chmod(at("key.cipher"), 0o640) }, []string{"key", "key.cipher"}},
		{"a link", func() error { return os.Symlink("key.cipher", at("link")) }, []string{"link"}},
		{"the suffix alone", func() error { return os.WriteFile(at(".cipher"), nil, 0o600) }, []string{".cipher"}},
		{"removed", func() error { return os.Remove(at("key.cipher")) }, []string{"key", "key.cipher"}},
		{"no ciphertext", func() error { return os.Remove(at("other")) }, []string{"other"}},
	} {
		must(t, c.change())
		for _, s := range c.pushed {
			until(t, c.what+": "+s, func() bool {
				k.mu.Lock()
				defer k.mu.Unlock()
				return slices.Contains(k.names, name{1, s})
			})
		}
		k.mu.Lock()
		if slices.Contains(k.names, name{1, ""}) {
			t.Errorf("%s: a name of no bytes", c.what)
		}
		k.names = nil
		k.mu.Unlock()
	}
}

// settled waits until all that happened before has been pushed: something happens
// then in another directory that is watched.
func settled(t *testing.T, dir string, k *kernel) []name {
	t.Helper()
	mark := filepath.Join(dir, "mark")
	must(t, os.WriteFile(mark, nil, 0o600), os.Remove(mark))
	var before []name
	until(t, "the mark", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		i := slices.Index(k.names, name{1, "mark"})
		if i >= 0 {
			before, k.names = k.names[:i], nil
		}
		return i >= 0
	})
	return before
}

// A directory that is renamed is another one: what happens in it is not pushed
// under the old number, and is under the new one once that is watched.
func TestRenamedDirectoryIsAnother(t *testing.T) {
	dir, w, k := watching(t)
	must(t, os.MkdirAll(filepath.Join(dir, "d/sub"), 0o700))
	if !w.Add(1, "") || !w.Add(2, "d") || !w.Add(3, "d/sub") {
		t.Fatal("not watched")
	}
	if w.Add(9, "nowhere") {
		t.Error("what is not there is watched")
	}
	must(t, os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "e")))
	settled(t, dir, k)
	must(t, os.WriteFile(filepath.Join(dir, "e/a.cipher"), nil, 0o600), os.WriteFile(filepath.Join(dir, "e/sub/b.cipher"), nil, 0o600))
	if pushed := settled(t, dir, k); len(pushed) != 0 {
		t.Errorf("pushed under old numbers: %v", pushed)
	}
	if !w.Add(4, "e") || !w.Add(5, "e/sub") {
		t.Fatal("not watched anew")
	}
	must(t, os.Remove(filepath.Join(dir, "e/a.cipher")), os.Remove(filepath.Join(dir, "e/sub/b.cipher")))
	for _, n := range []name{{4, "a"}, {5, "b"}} {
		until(t, "the new directory's names", func() bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			return slices.Contains(k.names, n)
		})
	}
	must(t, os.RemoveAll(filepath.Join(dir, "e")))
	until(t, "removed directories are forgotten", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.dirs) == 1 && len(w.wds) == 1
	})
}

// While a LOOKUP in a directory waits for the key service nothing is pushed there:
// the push would wait for the LOOKUP, and everybody for the push.
func TestNothingIsPushedWhileALookupWaits(t *testing.T) {
	dir, w, k := watching(t)
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	w.Add(1, "")
	w.Add(2, "d")
	first, second := w.Hold(2), w.Hold(2)
	first()
	must(t, os.WriteFile(filepath.Join(dir, "d/a.cipher"), nil, 0o600))
	if pushed := settled(t, dir, k); len(pushed) != 0 {
		t.Errorf("pushed: %v", pushed)
	}
	second()
	must(t, os.Remove(filepath.Join(dir, "d/a.cipher")))
	until(t, "pushed again", func() bool { return k.heard(name{2, "a"}) })
	if len(w.waiting) != 0 {
		t.Errorf("%v wait", w.waiting)
	}
}

// A mount takes no more of its user's watches than its share.
func TestWatchesAreBounded(t *testing.T) {
	_, w, _ := watching(t)
	for i := range uint64(maxWatches) {
		w.wds[1000+i] = int32(1000 + i)
	}
	if w.Add(1, "") {
		t.Error("watched beyond the bound")
	}
	if !w.Add(1000, "") {
		t.Error("what is watched already is not, beyond the bound")
	}
}

// A name is taken back on demand. Where no name is trusted nothing is watched, and
// none is taken back; nor after the end.
func TestNameIsTakenBackOnDemand(t *testing.T) {
	dir, w, k := watching(t)
	w.Forget(7, "key")
	if !k.heard(name{7, "key"}) {
		t.Error("not taken back")
	}
	w.Close()
	w.Close()
	w.Forget(7, "key")
	if w.Add(1, "") || k.heard(name{7, "key"}) {
		t.Error("something happens after Close")
	}
	none := NewNames(nil, slog.New(slog.DiscardHandler))
	none.Start(k)
	none.Forget(7, "key")
	if none.Add(1, "") || k.heard(name{7, "key"}) {
		t.Error("something happens although no name is trusted")
	}
	none.Close()
	must(t, os.WriteFile(filepath.Join(dir, "late"), nil, 0o600))
	time.Sleep(10 * time.Millisecond) // nobody is left who could push it
	if k.heard(name{1, "late"}) {
		t.Error("pushed after Close")
	}
}
