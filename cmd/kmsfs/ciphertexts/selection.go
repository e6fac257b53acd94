package ciphertexts

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/source"
)

// task is one file to be encrypted.
type task struct {
	file    string      // - is standard input
	root    string      // the directory it was found beneath, which it may not lead out of
	read    os.FileInfo // of what was read; nil for standard input
	out     string      // where the ciphertext goes; empty or -: standard output
	err     error       // why it is not even begun
	present bool        // its ciphertext is there, and was asked for only if not
	replace bool        // what is there may be replaced
	lost    string      // what could not be kept of it
}

func (t *task) toStdout() bool { return t.out == "" || t.out == "-" }

// errSealed: encrypted once more, a file would have to be decrypted twice.
var errSealed = errors.New("it is a ciphertext already")

// tasks finds the files that the arguments name, each once, in their order.
func (e *Encryption) tasks(args []string) []*task {
	var tasks []*task
	seen := map[string]bool{}
	add := func(t *task) {
		id := t.out
		if abs, err := filepath.Abs(t.out); err == nil && !t.toStdout() {
			id = abs
		}
		if t.err != nil {
			id = "not done: " + t.file // it makes nothing
		}
		if !seen[id] {
			seen[id] = true
			tasks = append(tasks, t)
		}
	}
	for _, arg := range args {
		st, err := os.Stat(arg)
		switch {
		case arg == "-":
			add(e.task(arg))
		case err == nil && st.IsDir() && !e.Recursive:
			add(&task{file: arg, err: ui.Failf("is a directory").Hint("--recursive encrypts the files beneath it")})
		case err == nil && st.IsDir():
			e.beneath(arg, add)
		case strings.HasSuffix(arg, source.Suffix) && e.Missing:
			// Of a second run with * in it: nothing is missing here.
		case strings.HasSuffix(arg, source.Suffix) && !e.Force:
			add(&task{file: arg, err: errSealed})
		default:
			add(e.task(arg))
		}
	}
	return tasks
}

// beneath adds the regular files beneath a directory, which may be a link
// itself. Links are not followed: they may lead to a file twice, or out.
func (e *Encryption) beneath(dir string, add func(*task)) {
	filepath.WalkDir(dir+"/.", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			add(&task{file: filepath.Clean(path), err: ui.Cause(err)})
		case !entry.Type().IsRegular() || strings.HasSuffix(path, source.Suffix) || strings.HasPrefix(entry.Name(), tempPrefix):
		default:
			t := e.task(path)
			t.root = dir
			add(t)
		}
		return nil
	})
}

func (e *Encryption) task(file string) *task {
	t := &task{file: file, out: e.Output, replace: e.Force}
	if t.out == "" && file != "-" {
		t.out = file + source.Suffix
		t.err = checkOrigin(file)
	}
	if e.Missing && t.err == nil && !t.toStdout() {
		if there, err := os.Lstat(t.out); err == nil {
			t.present = t.isPresent(there)
			t.replace = true
		}
	}
	return t
}

// isPresent tells whether what is there is a ciphertext and no older than its
// plaintext. An empty file is none: writing it was cut short.
func (t *task) isPresent(there fs.FileInfo) bool {
	if !there.Mode().IsRegular() || there.Size() == 0 {
		return false
	}
	if t.file == "-" {
		return true
	}
	plain, err := os.Stat(t.file)
	return err == nil && (!plain.Mode().IsRegular() || !there.ModTime().Before(plain.ModTime()))
}
