package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

var here = unix.AT_FDCWD // a variable: the constant does not fit a register's type

// file is a file as a loop uses it: nothing is allocated and nothing but the
// system calls is done.
type file struct {
	name *byte
	path string // the same, for errors
}

func newFile(path string) (file, error) {
	name, err := unix.BytePtrFromString(path)
	return file{name, path}, err
}

// read opens, reads and closes. The runtime signals its threads, so a call
// that waits may be interrupted; as in package os it then begins again.
func (f file) read(buf []byte) error {
	var fd, n uintptr
	errno := unix.EINTR
	for errno == unix.EINTR {
		fd, _, errno = unix.Syscall6(unix.SYS_OPENAT, uintptr(here), uintptr(unsafe.Pointer(f.name)), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	}
	if errno != 0 {
		return fmt.Errorf("open %s: %w", f.path, errno)
	}
	errno = unix.EINTR
	for errno == unix.EINTR {
		n, _, errno = unix.Syscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	}
	unix.Syscall(unix.SYS_CLOSE, fd, 0, 0)
	if errno != 0 {
		return fmt.Errorf("read %s: %w", f.path, errno)
	}
	if n != fileSize {
		return fmt.Errorf("read %s: %d bytes, not %d", f.path, n, fileSize)
	}
	return nil
}

// stat looks at the file, and must see what is wanted: 0 or ENOENT.
func (f file) stat(st *unix.Stat_t, want unix.Errno) error {
	_, _, errno := unix.Syscall6(unix.SYS_NEWFSTATAT, uintptr(here), uintptr(unsafe.Pointer(f.name)), uintptr(unsafe.Pointer(st)), 0, 0, 0)
	if errno != want {
		return fmt.Errorf("stat %s: %w", f.path, errno)
	}
	if want == 0 && st.Size != fileSize {
		return fmt.Errorf("stat %s: %d bytes, not %d", f.path, st.Size, fileSize)
	}
	return nil
}
