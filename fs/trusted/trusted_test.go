package trusted

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A file, or any directory or link on the way to it, that somebody else could
// have written is not read.
func TestTrustedFiles(t *testing.T) {
	const other = 12345
	root := os.Geteuid() == 0
	lay := func(t *testing.T) (dir, path string) {
		dir = filepath.Join(t.TempDir(), "a/b")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(dir, "config.json")
		if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir, path
	}
	for name, tt := range map[string]struct {
		spoil  func(dir, path string) (string, error)
		unsafe bool
		says   string // of another error; empty: none
	}{
		"as it should be":     {nil, false, ""},
		"readable":            {func(_, p string) (string, error) { return p, os.Chmod(p, 0o644) }, false, ""},
		"written by group":    {func(_, p string) (string, error) { return p, os.Chmod(p, 0o620) }, true, ""},
		"written by others":   {func(_, p string) (string, error) { return p, os.Chmod(p, 0o602) }, true, ""},
		"directory":           {func(d, p string) (string, error) { return p, os.Chmod(d, 0o720) }, true, ""},
		"its directory":       {func(d, p string) (string, error) { return p, os.Chmod(filepath.Dir(d), 0o702) }, true, ""},
		"sticky directory":    {func(d, p string) (string, error) { return p, os.Chmod(d, 0o777|os.ModeSticky) }, false, ""},
		"another's file":      {func(_, p string) (string, error) { return p, os.Chown(p, other, 0) }, true, ""},
		"another's directory": {func(d, p string) (string, error) { return p, os.Chown(d, other, 0) }, true, ""},
		"link": {func(d, p string) (string, error) {
			return d + "/../link", os.Symlink("b/config.json", d+"/../link")
		}, false, ""},
		"absolute link": {func(d, p string) (string, error) { return d + "/link", os.Symlink(p, d+"/link") }, false, ""},
		"another's link": {func(d, p string) (string, error) {
			return d + "/link", errors.Join(os.Symlink(p, d+"/link"), os.Lchown(d+"/link", other, 0))
		}, true, ""},
		"link to unsafe": {func(d, p string) (string, error) {
			return d + "/link", errors.Join(os.Symlink(p, d+"/link"), os.Chmod(p, 0o666))
		}, true, ""},
		"link through unsafe": {func(d, p string) (string, error) {
			return d + "/dir/b/config.json", errors.Join(os.Symlink(filepath.Dir(d), d+"/dir"), os.Chmod(d, 0o777))
		}, true, ""},
		"loop":              {func(d, p string) (string, error) { return d + "/l", os.Symlink("l", d+"/l") }, false, "too many levels"},
		"missing":           {func(d, p string) (string, error) { return d + "/x", nil }, false, "no such file"},
		"directory as file": {func(d, p string) (string, error) { return d, nil }, false, "not a regular file"},
		"file as directory": {func(d, p string) (string, error) { return p + "/x", nil }, false, "not a directory"},
		"FIFO":              {func(d, p string) (string, error) { return d + "/f", syscall.Mkfifo(d+"/f", 0o600) }, false, "not a regular file"},
		"device":            {func(d, p string) (string, error) { return "/dev/zero", nil }, false, ""},
		"relative":          {func(d, p string) (string, error) { return "x", nil }, false, "not an absolute path"},
		"too long":          {func(d, p string) (string, error) { return p, os.Truncate(p, longest+1) }, false, "longer than"},
	} {
		if strings.HasPrefix(name, "another's") && !root {
			continue // only root gives files away
		}
		t.Run(name, func(t *testing.T) {
			dir, path := lay(t)
			if tt.spoil != nil {
				var err error
				if path, err = tt.spoil(dir, path); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Read(path)
			switch {
			case name == "device":
				if err == nil {
					t.Error("read")
				}
			case tt.unsafe:
				if !errors.Is(err, ErrUnsafe) {
					t.Errorf("%v, want ErrUnsafe", err)
				}
			case tt.says != "":
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v, want %q", err, tt.says)
				}
			case err != nil || string(got.Content) != "content":
				t.Errorf("%q, %v", got.Content, err)
			}
		})
	}
	if _, err := Read("/nonexistent/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}
