package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// readSecret reads a file, or standard input for "-", up to one byte more
// than the limit, so that the caller sees that it is too long. The caller
// clears what it gets, also together with an error.
func readSecret(p *program, name string, limit int) ([]byte, error) {
	in := p.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if st, err := f.Stat(); err == nil && st.IsDir() {
			return nil, &os.PathError{Op: "read", Path: name, Err: unix.EISDIR}
		}
		in = f
	}
	b := make([]byte, limit+1)
	n, err := io.ReadFull(in, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return b[:n], err
}

// writeNew writes a file as a whole or not at all: readable by its owner
// only, durable before it has its name, and never in place of another one
// unless replace says so.
func writeNew(name string, content []byte, replace bool) (err error) {
	dir := filepath.Dir(name)
	tmp, err := os.CreateTemp(dir, ".kmsfs-*") // 0600; short, since the name may be as long as can be
	if err != nil {
		return err
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	if _, err := tmp.Write(content); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if replace {
		err = os.Rename(tmp.Name(), name)
	} else {
		err = renameNew(tmp.Name(), name)
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// renameNew renames without replacing. File systems that cannot do that in
// one step get a second name and lose the first.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		if err = os.Link(from, to); err == nil {
			return os.Remove(from)
		}
		return err
	}
	if err != nil {
		return &os.PathError{Op: "rename", Path: to, Err: err}
	}
	return nil
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

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lineEnd ends a line on a terminal; a file gets the text alone.
func lineEnd(w io.Writer) string {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return "\n"
	}
	return ""
}
