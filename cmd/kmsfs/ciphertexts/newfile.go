package ciphertexts

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// naming is how a finished file gets its name. Tests have file systems of their
// own.
type naming struct {
	noReplace, link, rename func(from, to string) error
}

var kernelNaming = naming{
	noReplace: func(from, to string) error {
		return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	},
	link:   os.Link,
	rename: os.Rename,
}

// writeNew writes a file as a whole or not at all: readable by its owner
// only, durable before it has its name, and never in place of another one
// unless replace says so. What it replaces leaves it its owner, permissions and
// attributes; lost says in words what could not be kept.
func writeNew(name string, content []byte, replace bool, by naming) (lost string, err error) {
	dir := filepath.Dir(name)
	tmp, err := os.CreateTemp(dir, tempPrefix+"*") // 0600; short, since the name may be as long as can be
	if err != nil {
		return "", err
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	if _, err := tmp.Write(content); err != nil {
		return "", err
	}
	if replace {
		if lost, err = keepAttributes(name, tmp); err != nil {
			return "", err
		}
	}
	if err := tmp.Sync(); err != nil {
		return "", err
	}
	if replace {
		err = by.rename(tmp.Name(), name)
	} else {
		err = by.renameNew(tmp.Name(), name)
	}
	if err != nil {
		return "", err
	}
	return lost, syncDir(dir)
}

// tempPrefix begins the names of files that are not finished.
const tempPrefix = ".kmsfs-"

// renameNew renames without replacing. File systems that cannot do that in one
// step get a second name and lose the first. Those that have no second names
// either (s3fs, ossfs, sshfs) get an empty file that nobody else can have made,
// and then lose that: only a crash in between leaves it behind.
func (n naming) renameNew(from, to string) error {
	err := n.noReplace(from, to)
	if !unsupported(err) {
		return namedError(to, err)
	}
	if err = n.link(from, to); err == nil {
		return os.Remove(from)
	} else if !unsupported(err) {
		return err
	}
	claim, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	claimed, _ := claim.Stat()
	if err = claim.Close(); err == nil {
		err = n.rename(from, to)
	}
	if err != nil {
		if there, lerr := os.Lstat(to); lerr == nil && claimed != nil && os.SameFile(there, claimed) {
			os.Remove(to)
		}
	}
	return err
}

// unsupported tells whether a file system has no such operation. EPERM is what
// link(2) documents for that.
func unsupported(err error) bool {
	for _, e := range []error{unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.EPERM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func namedError(name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: "rename", Path: name, Err: err}
}

// createPrivate writes plaintext to a file that did not exist, under its own
// name from the start: there is no second copy to be left behind. What could
// not be written whole is removed.
func createPrivate(name string, content []byte) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			os.Remove(name)
		}
	}()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// syncDir makes a new name durable. Where that cannot be asked for, it is left
// to the file system: the file is there.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil // it may be written to and not be read
	} else if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !unsupported(err) {
		return err
	}
	return nil
}
