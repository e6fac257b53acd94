package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Connection ends a mount for everybody. A bind mount, or a mount namespace
// that was made meanwhile, holds a file system beyond its umount; without a
// connection there is nothing behind it any more, and its process ends.
type Connection struct{ abort *os.File }

// Connection opens what ends a mount. That is done before it is unmounted:
// afterwards its number may be another's.
func (m Entry) Connection() (*Connection, error) {
	name := filepath.Join(strings.TrimPrefix(m.Device, "0:"), "abort")
	f, err := os.OpenFile(filepath.Join("/sys/fs/fuse/connections", name), os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		f, err = openFuseControl(name)
	}
	if err != nil {
		return nil, fmt.Errorf("control connection of %s: %w", m.Point, err)
	}
	if now, ok, err := At(m.Point); err != nil || !ok || now.Device != m.Device {
		f.Close()
		return nil, fmt.Errorf("control connection of %s: the mount has changed meanwhile", m.Point)
	}
	return &Connection{f}, nil
}

// openFuseControl opens a file of the FUSE control file system where nobody has
// mounted that: it is mounted for this moment, at no place.
func openFuseControl(name string) (*os.File, error) {
	fd, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fd)
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	dir, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	defer unix.Close(dir)
	abort, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(abort), name), nil
}

// Abort ends the connection. One that has ended already is as good.
func (c *Connection) Abort() error {
	_, err := c.abort.WriteString("1")
	return err
}

// Close leaves the connection as it is.
func (c *Connection) Close() error { return c.abort.Close() }
