package fs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
)

// plant makes a source. A name that ends in a slash is a directory, a content
// that begins with → is a link's text.
func plant(t *testing.T, tree map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range tree {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		text, link := strings.CutPrefix(content, "→")
		switch {
		case strings.HasSuffix(name, "/"):
			err = errors.Join(err, os.MkdirAll(path, 0o700))
		case link:
			err = errors.Join(err, os.Symlink(text, path))
		default:
			err = errors.Join(err, os.WriteFile(path, []byte(content), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func survey(t *testing.T, dir string, plain bool) *Survey {
	t.Helper()
	s, err := NewSurvey(dir, plain, blobs.Recogniser{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// The names are those that a mount shows, by their bytes, whatever the order
// of the directories.
func TestSurveyNamesWhatAMountShows(t *testing.T) {
	dir := plant(t, map[string]string{
		"b.cipher": "", "B.cipher": "", "a/z.cipher": "", "a-.cipher": "", "a.cipher.cipher": "", "a0.cipher": "",
		"plain": "", "a/plain": "", ".cipher": "", "link": "→b", "link.cipher": "→b", "other.cipher": "→b", "empty/": "",
		"d.cipher/": "", "d.cipher/x.cipher": "", "twin.cipher": "", "twin/lost.cipher": "",
	})
	if err := unix.Mkfifo(filepath.Join(dir, "fifo.cipher"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{"B.cipher", "a-.cipher", "a.cipher.cipher", "a/z.cipher", "a0.cipher", "b.cipher", "d.cipher/x.cipher",
		"link.cipher", "other.cipher", "twin.cipher"}
	for _, plain := range []bool{false, true} {
		if s := survey(t, dir, plain); !slices.Equal(s.Names, want) {
			t.Errorf("plain %t: %q, want %q", plain, s.Names, want)
		}
	}
	_, err := NewSurvey(filepath.Join(dir, "nowhere"), false, blobs.Recogniser{})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no source: %v", err)
	}
}

// A link ends where the kernel ends in a mount, and fails as it does there.
func TestSurveyFollowsLinksAsTheKernelDoes(t *testing.T) {
	tree := map[string]string{
		"f.cipher": "<html>", "d/g.cipher": "", "d.cipher/h.cipher": "", "plain": "",
		"file.cipher": "→f.cipher", "shown.cipher": "→f", "chain.cipher": "→file.cipher", "bare": "→f.cipher",
		"d/up.cipher": "→../f.cipher", "d/upper.cipher": "→../todir/./g.cipher", "todir": "→d", "slash.cipher": "→d/", "here.cipher": "→.",
		"into.cipher": "→d.cipher/h.cipher", "dir.cipher": "→d.cipher", "d/back.cipher": "→..",
		"loop.cipher": "→pool.cipher", "pool.cipher": "→loop.cipher", "away.cipher": "→/f.cipher", "out.cipher": "→../f.cipher",
		"toout.cipher": "→out.cipher", "nothing.cipher": "→none.cipher", "toplain.cipher": "→plain", "behind.cipher": "→d/../f.cipher",
		"through.cipher": "→f/x", "suffix.cipher": "→f.cipher/x", "file slash.cipher": "→f/", "long.cipher": "→" + strings.Repeat("n", 256), "longest": "→" + strings.Repeat("n", 255),
		"l00": "→f",
	}
	for i := 1; i <= 40; i++ {
		tree["l"+string(rune('0'+i/10))+string(rune('0'+i%10))] = "→l" + string(rune('0'+(i-1)/10)) + string(rune('0'+(i-1)%10))
	}
	s := survey(t, plant(t, tree), false)
	const html = "not a ciphertext: an HTML page"
	for name, want := range map[string]struct{ target, err string }{
		"f.cipher": {"", html}, "file.cipher": {"f.cipher", html}, "shown.cipher": {"f.cipher", html}, "chain.cipher": {"f.cipher", html},
		"bare": {"f.cipher", html}, "d/up.cipher": {"f.cipher", html}, "d/upper.cipher": {"d/g.cipher", "not a ciphertext: empty"},
		"todir": {"d", ""}, "slash.cipher": {"d", ""}, "into.cipher": {"d.cipher/h.cipher", "not a ciphertext: empty"}, "dir.cipher": {"d.cipher", ""},
		"l00": {"f.cipher", html}, "l39": {"f.cipher", html},
		"l40":               {"", "ELOOP, too many levels of symbolic links: leads back to itself, or through too many links"},
		"loop.cipher":       {"", "ELOOP, too many levels of symbolic links: leads back to itself, or through too many links"},
		"away.cipher":       {"", "EACCES, permission denied: leads out of the mount"},
		"out.cipher":        {"", "EACCES, permission denied: leads out of the mount"},
		"toout.cipher":      {"", "EACCES, permission denied: leads out of the mount"},
		"behind.cipher":     {"", "EACCES, permission denied: leads out of the mount"},
		"nothing.cipher":    {"", "ENOENT, no such file or directory: leads to nothing that is shown"},
		"toplain.cipher":    {"", "ENOENT, no such file or directory: leads to nothing that is shown"},
		"suffix.cipher":     {"", "ENOENT, no such file or directory: leads to nothing that is shown"},
		"longest":           {"", "ENOENT, no such file or directory: leads to nothing that is shown"},
		"long.cipher":       {"", "ENAMETOOLONG, file name too long"},
		"through.cipher":    {"", "ENOTDIR, not a directory: leads through a file"},
		"file slash.cipher": {"", "ENOTDIR, not a directory: leads through a file"},
		"here.cipher":       {".", ""}, "d/back.cipher": {".", ""},
	} {
		if !slices.Contains(s.Names, name) {
			t.Errorf("%s is not named", name)
		}
		e, said := s.Look(name), ""
		if e.Err != nil {
			said = e.Err.Error()
		}
		if e.Target != want.target || said != want.err {
			t.Errorf("%s: to %q, %q; want %q, %q", name, e.Target, said, want.target, want.err)
		}
	}
	if e := s.Look("away.cipher"); !errors.Is(e.Err, syscall.EACCES) {
		t.Errorf("%v is not EACCES", e.Err)
	}
	s = survey(t, plant(t, tree), true)
	if e := s.Look("toplain.cipher"); e.Err != nil || e.Target != "plain" || e.Ciphertext != nil {
		t.Errorf("plain files are shown: %+v", e)
	}
}
