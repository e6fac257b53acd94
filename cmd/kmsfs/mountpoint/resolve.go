// Package mountpoint finds where a mount goes, and says what stands against it and
// what to do about that.
package mountpoint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
)

// Place is a source and where it is mounted.
type Place struct {
	Source, Point string
	Device        *os.File // of /dev/fuse, if somebody else has mounted
}

// Resolve is a place that is to be mounted on, with absolute paths. It checks what
// can be checked without doing anything; a mount whose processes have died makes
// room.
func Resolve(p Place, nonempty bool, getenv func(string) string) (Place, error) {
	source, err := filepath.Abs(p.Source)
	if err != nil {
		return p, ui.Failf("open source %s: %w", ui.Quote(p.Source), err)
	}
	src, err := os.Stat(source)
	if err != nil {
		return p, ui.Failf("open source: %w", ui.PlainPath(err)).Hint("SRC is the directory with the *.cipher files")
	}
	if !src.IsDir() {
		return p, ui.Failf("open source %s: not a directory", ui.Quote(p.Source)).Hint("SRC is the directory with the *.cipher files")
	}
	device, point, err := mount.HandedIn(p.Point)
	if err != nil {
		return p, err
	}
	if device != nil {
		return Place{source, point, device}, nil
	}
	point, err = mount.RealPoint(p.Point)
	if err != nil {
		return p, ui.Failf("open mountpoint: %w", ui.PlainPath(err)).Hint("create the directory first: mkdir -p %s", ui.Quote(p.Point))
	}
	if err := makeRoom(p.Point, point, getenv); err != nil {
		return p, err
	}
	if err := takesMount(p.Point, point, src, nonempty); err != nil {
		return p, err
	}
	if err := openable(); err != nil {
		return p, err
	}
	return Place{Source: source, Point: point}, seenByHost(point, getenv)
}

// makeRoom detaches a mount of ours whose processes have died. One that lives stays.
func makeRoom(typed, point string, getenv func(string) string) error {
	there, ok, err := mount.At(point)
	if err != nil || !ok || there.Type != mount.Type {
		return err
	}
	if !errors.Is(unix.Statfs(point, new(unix.Statfs_t)), syscall.ENOTCONN) {
		return ui.Failf("mount %s: kmsfs is mounted there already", ui.Quote(typed)).Hint("kmsfs umount %s", ui.Quote(typed))
	}
	control.Sweep(there, getenv)
	return mount.Unmount(point, true)
}

// takesMount says whether a directory can be mounted on without hiding anything,
// unless that is wanted. The source itself may be hidden.
func takesMount(typed, point string, src os.FileInfo, nonempty bool) error {
	mnt, err := os.Stat(point)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return ui.Failf("open mountpoint: %w", ui.PlainPath(err)).Hint("create the directory first: mkdir -p %s", ui.Quote(typed))
	case err != nil:
		return ui.Failf("open mountpoint: %w", ui.PlainPath(err))
	case !mnt.IsDir():
		return ui.Failf("open mountpoint %s: not a directory", ui.Quote(typed))
	case nonempty || os.SameFile(src, mnt):
		return nil
	}
	if empty, err := isEmpty(point); err != nil {
		return ui.Failf("open mountpoint: %w", ui.PlainPath(err))
	} else if !empty {
		return ui.Failf("mount %s: the directory is not empty", ui.Quote(typed)).
			Hint("its files would be hidden; choose another mountpoint, or mount with -o nonempty")
	}
	return nil
}

func isEmpty(dir string) (bool, error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer d.Close()
	names, _ := d.Readdirnames(1)
	return len(names) == 0, nil
}

// Hides tells whether a mount hides a file that may not be there yet.
func Hides(point, file string) bool {
	file, err := filepath.Abs(file)
	if err != nil {
		return false
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return false // then it is nowhere
	}
	rel, err := filepath.Rel(point, filepath.Join(dir, filepath.Base(file)))
	return err == nil && filepath.IsLocal(rel)
}

// openable says whether this user can open the device.
func openable() error {
	err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK)
	switch {
	case err == nil:
		return nil
	case err == syscall.EACCES && os.Geteuid() != 0:
		return ui.Failf("open /dev/fuse: %w", err).
			Hint("other users than root may open it when its mode is 0666, as udev makes it: chmod 0666 /dev/fuse")
	}
	return ui.Failf("open /dev/fuse: %w", err).Hint("load the module with: modprobe fuse; in a container, pass the device in")
}

// Standing is a place that an earlier process has mounted with this device. No
// path is touched that leads through a mount which only waits for us.
func Standing(p Place, device *os.File) (_ Place, err error) {
	if p.Source, err = filepath.Abs(p.Source); err != nil {
		return p, ui.Failf("open source %s: %w", ui.Quote(p.Source), err)
	}
	if strings.HasPrefix(p.Point, mount.DevFD) {
		if device == nil {
			return p, nil // a rehearsal, in which nothing is mounted
		}
		mounts, err := mount.Of(device)
		if err != nil || len(mounts) == 0 {
			return p, ui.Failf("take over %s: nothing is mounted with it (%w)", ui.Quote(p.Point), err)
		}
		p.Device, p.Point = device, mounts[len(mounts)-1].Point
	} else if p.Point, err = mount.RealPoint(p.Point); err != nil {
		return p, ui.Failf("open mountpoint: %w", ui.PlainPath(err))
	}
	return p, nil
}

// WorkingDirectory is where the command line was written. One that has been
// removed is none, and is needed only for a relative path: without one, the
// processes of the mount find each other's paths from the root.
func WorkingDirectory(paths ...string) (string, error) {
	directory, err := os.Getwd()
	if err == nil {
		return directory, nil
	}
	for _, path := range paths {
		if path != "" && !filepath.IsAbs(path) {
			return "", ui.Failf("find %s: the working directory: %w", ui.Quote(path), errors.Unwrap(err)).
				Hint("the directory has been removed; change to another one, or give absolute paths")
		}
	}
	return "/", nil
}
