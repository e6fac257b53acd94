package ciphertexts

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// naming of file systems that lack something.
func lacking(noReplace, link error) naming {
	n := kernelNaming
	if noReplace != nil {
		n.noReplace = func(_, _ string) error { return noReplace }
	}
	if link != nil {
		n.link = func(_, to string) error { return &os.LinkError{Op: "link", New: to, Err: link} }
	}
	return n
}

// Wherever a file is written, it is whole, nothing is replaced that may not be,
// and nothing is left behind.
func TestWriteNew(t *testing.T) {
	for name, by := range map[string]naming{
		"all":                 lacking(nil, nil),
		"no RENAME_NOREPLACE": lacking(unix.EINVAL, nil),
		"sshfs":               lacking(unix.EINVAL, unix.EPERM),
		"ENOSYS":              lacking(unix.ENOSYS, unix.ENOSYS),
		"EOPNOTSUPP":          lacking(unix.EOPNOTSUPP, unix.EOPNOTSUPP),
		"EPERM":               lacking(unix.EPERM, unix.EINVAL),
	} {
		dir := t.TempDir()
		path := dir + "/a"
		if lost, err := writeNew(path, []byte("first"), false, by); err != nil || lost != "" {
			t.Errorf("%s: %q, %v", name, lost, err)
		}
		if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
		if _, err := writeNew(path, []byte("second"), false, by); !errors.Is(err, os.ErrExist) {
			t.Errorf("%s: over a file: %v", name, err)
		}
		if got, _ := os.ReadFile(path); string(got) != "first" {
			t.Errorf("%s: %q", name, got)
		}
		if _, err := writeNew(path, []byte("third"), true, by); err != nil {
			t.Errorf("%s: replace: %v", name, err)
		}
		if got, _ := os.ReadFile(path); string(got) != "third" {
			t.Errorf("%s: %q", name, got)
		}
		// Neither what is half done nor the name that was claimed.
		by.noReplace = func(_, _ string) error { return unix.EINVAL }
		by.link = func(_, _ string) error { return unix.EPERM }
		by.rename = func(_, _ string) error { return unix.EIO }
		if _, err := writeNew(dir+"/b", []byte("x"), false, by); !errors.Is(err, unix.EIO) {
			t.Errorf("%s: %v", name, err)
		}
		if found, _ := filepath.Glob(dir + "/*"); len(found) != 1 {
			t.Errorf("%s: %q", name, found)
		}
		if found, _ := filepath.Glob(dir + "/.*"); len(found) != 0 {
			t.Errorf("%s: %q", name, found)
		}
	}
}

// An error that says more than that an operation is missing is kept.
func TestWriteNewFails(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EACCES, unix.EROFS, unix.ENOSPC, unix.EDQUOT} {
		if _, err := writeNew(t.TempDir()+"/a", []byte("x"), false, lacking(errno, nil)); !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
		if _, err := writeNew(t.TempDir()+"/a", []byte("x"), false, lacking(unix.EINVAL, errno)); !errors.Is(err, errno) {
			t.Errorf("link, %v: %v", errno, err)
		}
	}
}
