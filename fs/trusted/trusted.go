// Package trusted says which files only root and this user can have written: those
// that decide who we are to a key service, and the program that takes over a mount.
package trusted

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrUnsafe: somebody else than root and this user could have written the file.
var ErrUnsafe = errors.New("unsafe file")

// UnsafeError is an ErrUnsafe with its cause.
type UnsafeError struct {
	Path  string // the file, or a directory or link on the way to it
	cause string
}

func (e *UnsafeError) Error() string {
	return ErrUnsafe.Error() + ": " + strconv.Quote(e.Path) + " " + e.cause
}

// Is makes it an ErrUnsafe.
func (e *UnsafeError) Is(target error) bool { return target == ErrUnsafe }

const longest = 1 << 20

// File is one that only root and this user can have written.
type File struct {
	Path    string // without symbolic links
	Content []byte
	Mode    fs.FileMode
}

// Read reads such a file.
func Read(path string) (File, error) {
	real, info, err := Find(path)
	if err != nil {
		return File{}, err
	}
	// Nobody else can put another file there: all directories are safe.
	file, err := os.OpenFile(real, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return File{}, err
	}
	defer file.Close()
	if now, err := file.Stat(); err != nil || !os.SameFile(info, now) {
		return File{}, &fs.PathError{Op: "open", Path: path, Err: errors.New("replaced just now")}
	}
	content, err := io.ReadAll(io.LimitReader(file, longest+1))
	if err == nil && len(content) > longest {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("longer than %d bytes", longest)}
	}
	return File{real, content, info.Mode()}, err
}

// Find looks at every directory and symbolic link on the way to a regular file, and
// at the file, and returns its path without links. A sticky directory like /tmp is
// safe to pass: there, nobody else can replace what is ours.
func Find(path string) (string, fs.FileInfo, error) {
	if !filepath.IsAbs(path) {
		return "", nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("not an absolute path")}
	}
	at := "/"
	rest := strings.Split(path, "/")
	info, err := os.Lstat(at)
	for links := 0; err == nil; {
		if err = safe(at, info); err != nil {
			return "", nil, err
		}
		if len(rest) == 0 {
			break
		}
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if !info.IsDir() {
			return "", nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
		}
		next := filepath.Join(at, name) // at has no links, so .. is its parent
		var found fs.FileInfo
		if found, err = os.Lstat(next); err != nil {
			break
		}
		if found.Mode()&fs.ModeSymlink == 0 {
			at, info = next, found
			continue
		}
		if links++; links > 40 {
			return "", nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
		}
		if err = owned(next, found); err != nil {
			return "", nil, err
		}
		var target string
		if target, err = os.Readlink(next); err != nil {
			break
		}
		rest = append(strings.Split(target, "/"), rest...)
		if filepath.IsAbs(target) {
			at = "/"
			info, err = os.Lstat(at)
		}
	}
	if err != nil {
		return "", nil, err
	}
	if !info.Mode().IsRegular() {
		return "", nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	return at, info, nil
}

// safe says whether only root and this user can change a file or directory. An
// access list that gives more shows in the group's bits.
func safe(path string, info fs.FileInfo) error {
	if err := owned(path, info); err != nil {
		return err
	}
	if info.Mode().Perm()&0o022 != 0 && !(info.IsDir() && info.Mode()&fs.ModeSticky != 0) {
		return &UnsafeError{path, fmt.Sprintf("can be written by others (mode %04o)", info.Mode().Perm())}
	}
	return nil
}

func owned(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return &UnsafeError{path, "belongs to another user"}
	}
	return nil
}
