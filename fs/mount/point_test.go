package mount

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A mountpoint is found through links, to itself and above it, and need not be
// there.
func TestRealPoint(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/d", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"abs": dir + "/d/mnt", "rel": "d/../d/mnt", "above": "d", "chain": "rel", "loop": "pool", "pool": "loop"} {
		if err := os.Symlink(text, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"d/mnt", "abs", "rel", "chain", "above/mnt", "d//mnt/"} {
		if got, err := RealPoint(dir + "/" + name); got != dir+"/d/mnt" || err != nil {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	if got, err := RealPoint("/"); got != "/" || err != nil {
		t.Errorf("the root: %s, %v", got, err)
	}
	for name, want := range map[string]error{"loop": syscall.ELOOP, "none/mnt": os.ErrNotExist} {
		if got, err := RealPoint(dir + "/" + name); !errors.Is(err, want) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}
