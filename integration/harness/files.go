package harness

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// LetOthersPass lets every user pass down to a directory, until the test ends.
func LetOthersPass(t *testing.T, dir string) {
	t.Helper()
	top := filepath.Dir(os.TempDir())
	for d := dir; strings.HasPrefix(d, top); d = filepath.Dir(d) {
		st, err := os.Stat(d)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm()&0o005 == 0o005 || os.Chmod(d, st.Mode().Perm()|0o055) != nil {
			continue
		}
		t.Cleanup(func() { os.Chmod(d, st.Mode().Perm()) })
	}
}

// Checkout is the top of the tree that the tests belong to.
var Checkout = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	panic("no go.mod above the working directory of the tests")
})

// Repository is a path in the tree that the tests belong to.
func Repository(path string) string { return filepath.Join(Checkout(), path) }

// Put writes a file as a deployment would: under another name, then renamed.
func Put(t testing.TB, path, content string) {
	t.Helper()
	tmp := filepath.Join(filepath.Dir(path), ".put")
	if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

// Read reads a file.
func Read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Lengthy is a plaintext of n bytes that tells which one it is.
func Lengthy(tag string, n int) string {
	return strings.Repeat(fmt.Sprintf("%s %d\n", tag, n), n)[:n]
}

// ReadAsOneOf opens, stats and reads twice through one descriptor.
func ReadAsOneOf(path string, versions []string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	first, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	known := false
	for _, v := range versions {
		known = known || v == string(first)
	}
	if !known {
		return fmt.Errorf("%d bytes that are no version: %.40q", len(first), first)
	}
	if st.Size() != int64(len(first)) {
		return fmt.Errorf("fstat says %d, read %d", st.Size(), len(first))
	}
	var again strings.Builder
	if _, err := io.Copy(&again, io.NewSectionReader(f, 0, 1<<20)); err != nil || again.String() != string(first) {
		return fmt.Errorf("the second read differs: %d bytes (%v)", again.Len(), err)
	}
	return nil
}

// ReadmeBlock is the block of the README behind a marker.
func ReadmeBlock(t *testing.T, marker string) string {
	t.Helper()
	_, rest, ok := strings.Cut(Read(t, Repository("README.md")), "<!-- "+marker+" -->\n```")
	_, rest, _ = strings.Cut(rest, "\n")
	text, _, end := strings.Cut(rest, "\n```")
	if !ok || !end {
		t.Fatalf("the README has no block %q", marker)
	}
	return text + "\n"
}
