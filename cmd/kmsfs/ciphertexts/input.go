package ciphertexts

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

// readSecret reads a file, or standard input for "-", up to one byte more
// than the limit, so that the caller sees that it is too long. The caller
// clears what it gets, also together with an error.
func readSecret(stdin io.Reader, name string, limit int) ([]byte, error) {
	if name == "-" {
		return readUpTo(stdin, limit)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, &os.PathError{Op: "read", Path: name, Err: unix.EISDIR}
	}
	return readUpTo(f, limit)
}

func readUpTo(in io.Reader, limit int) ([]byte, error) {
	b := make([]byte, limit+1)
	n, err := io.ReadFull(in, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return b[:n], err
}

// readWithin reads a task's file as readSecret does, until ctx ends: a pipe or a
// terminal may give nothing for ever. Whoever ends ctx is about to end the
// process, too.
func readWithin(ctx context.Context, stdin io.Reader, t *task, limit int) ([]byte, error) {
	in, err := t.open(stdin)
	if err != nil {
		return nil, err
	}
	type result struct {
		secret []byte
		err    error
	}
	done := make(chan result, 1)
	go func() {
		defer in.Close()
		secret, err := readUpTo(in, limit)
		done <- result{secret, err}
	}()
	select {
	case r := <-done:
		return r.secret, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// open opens what is to be encrypted. What was found beneath a directory must be
// there still: whoever may write to it could put a link in its place.
func (t *task) open(stdin io.Reader) (f io.ReadCloser, err error) {
	if t.file == "-" {
		return io.NopCloser(stdin), nil
	}
	var opened *os.File
	if t.root == "" {
		opened, err = os.Open(t.file)
	} else {
		opened, err = openBeneath(t.root, t.file)
	}
	if err != nil {
		return nil, err
	}
	if t.read, err = opened.Stat(); err == nil && (t.read.IsDir() || t.root != "" && !t.read.Mode().IsRegular()) {
		err = ui.Failf("not a regular file any more")
	}
	if err != nil {
		opened.Close()
		return nil, err
	}
	return opened, nil
}

func openBeneath(dir, file string) (*os.File, error) {
	rel, err := filepath.Rel(dir, file)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenFile(rel, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// changed tells whether the file is another one now than was read: its
// ciphertext would look newer than a plaintext that it is not of.
func (t *task) changed() bool {
	if t.read == nil || !t.read.Mode().IsRegular() {
		return false
	}
	now, err := os.Stat(t.file)
	return err != nil || !os.SameFile(now, t.read) || now.Size() != t.read.Size() || !now.ModTime().Equal(t.read.ModTime())
}
