package ciphertexts

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

const longestName = 255 // bytes, on every file system of Linux that counts

// checkDestination says before a call is paid why a file could not be written
// under this name. What is there already may be replaced or not.
func checkDestination(out string, replace bool) error {
	dir := filepath.Dir(out)
	if len(filepath.Base(out)) > longestName {
		return ui.Failf("%s: the name is longer than %d bytes", ui.Quote(out), longestName).Hint("choose a shorter name with --output")
	}
	switch st, err := os.Lstat(out); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return ui.Failf("%s: %w", ui.Quote(out), ui.Cause(err))
	case !st.Mode().IsRegular():
		return ui.Failf("%s is not a regular file", ui.Quote(out)).Hint("give - for standard output, or the file that a link leads to")
	case !replace:
		return errTaken
	}
	switch st, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return ui.Failf("write to %s: there is no such directory", ui.Quote(dir)).Hint("create it first: mkdir -p %s", ui.Quote(dir))
	case err != nil:
		return ui.Failf("write to %s: %w", ui.Quote(dir), ui.Cause(err))
	case !st.IsDir():
		return ui.Failf("write to %s: not a directory", ui.Quote(dir))
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return ui.Failf("write to %s: %w", ui.Quote(dir), err)
	}
	return nil
}

// errTaken: a file is there and may not be replaced.
var errTaken = errors.New("it exists")

// checkOrigin refuses, if the ciphertext is to lie beside it, what nothing can
// lie beside: a pipe or a device, and what a shell's <(…) names.
func checkOrigin(file string) error {
	tip := "say with --output where the ciphertext goes; - is standard output"
	switch st, err := os.Stat(file); {
	case err != nil || st.IsDir(): // reading it says why
		return nil
	case !st.Mode().IsRegular():
		return ui.Failf("no regular file, so nothing can be written beside it").Hint("%s", tip)
	}
	names := []string{file}
	if target, err := os.Readlink(file); err == nil && filepath.IsAbs(target) {
		names = append(names, target) // /dev/stdin
	}
	for _, name := range names {
		var in unix.Statfs_t
		if unix.Statfs(filepath.Dir(name), &in) == nil && in.Type == unix.PROC_SUPER_MAGIC {
			return ui.Failf("a descriptor, so nothing can be written beside it").Hint("%s", tip)
		}
	}
	return nil
}
