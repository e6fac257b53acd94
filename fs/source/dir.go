// Package source is the directory of *.cipher files, which anybody may have
// written: how a path in it is opened without leaving it, how a file is read
// while somebody may be writing it, and under which names its entries appear.
//
// It knows no ciphertext and no FUSE.
package source

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Dir is the untrusted directory that holds the ciphertext. Whoever can
// write to it may plant any bytes, names and file types, and may swap
// directories for links while we look.
//
// INVARIANT: every access starts at the directory handle taken before the
// mount and stays beneath it: no link, no magic link and no mount point is
// ever crossed, and nothing but a regular file is opened for reading. So a
// mount over the source itself still reads what lies under it.
type Dir struct {
	file  *os.File    // O_PATH
	local atomic.Bool // a file system in memory or on a disk of this machine
}

// Open takes the handle. The path itself may contain links.
func Open(name string) (*Dir, error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open source: %w", &os.PathError{Op: "open", Path: name, Err: err})
	}
	d := &Dir{file: os.NewFile(uintptr(fd), name)}
	d.findType()
	return d, nil
}

// Inherited is the directory whose handle a predecessor took. It does not wait
// for the file system, which may stall: a successor begins to serve without it.
func Inherited(file *os.File) *Dir {
	d := &Dir{file: file}
	go d.findType()
	return d
}

// findType finds out whether the file system is a local one.
func (d *Dir) findType() {
	handle, err := d.file.SyscallConn() // it stays open meanwhile
	if err != nil {
		return
	}
	_ = handle.Control(func(fd uintptr) {
		var st unix.Statfs_t
		d.local.Store(unix.Fstatfs(int(fd), &st) == nil && localTypes[int64(st.Type)])
	})
}

// localTypes are file systems that answer at once, or after one look at a disk.
var localTypes = map[int64]bool{
	unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.BTRFS_SUPER_MAGIC: true, unix.F2FS_SUPER_MAGIC: true,
	0x2fc12fc1:       true, // ZFS
	unix.TMPFS_MAGIC: true, unix.RAMFS_MAGIC: true, unix.OVERLAYFS_SUPER_MAGIC: true,
	unix.SQUASHFS_MAGIC: true, unix.EROFS_SUPER_MAGIC_V1: true,
}

// File is the handle, for a successor. It belongs to the Dir.
func (d *Dir) File() *os.File { return d.file }

// IsLocal tells whether it answers without a network, as far as that is known.
func (d *Dir) IsLocal() bool { return d.local.Load() }

// Close lets go of the handle.
func (d *Dir) Close() { d.file.Close() }

// beneath opens rel ("" is the source itself).
func (d *Dir) beneath(rel string, flags uint64) (int, error) {
	if rel == "" {
		rel = "."
	}
	return openBeneath(int(d.file.Fd()), rel, flags, 0)
}

// openBeneath is the one door into the source. links is 0, or
// RESOLVE_NO_SYMLINKS where links are followed as long as they stay beneath.
func openBeneath(dir int, rel string, flags, links uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: (unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV) &^ links,
	}
	for {
		fd, err := unix.Openat2(dir, rel, &how)
		// EAGAIN without O_PATH may be a lease on the file, see OpenFile; with
		// it, only a rename or a mount somewhere raced with the walk.
		if err == unix.EINTR || (err == unix.EAGAIN && flags&unix.O_PATH != 0) {
			continue
		}
		return fd, err
	}
}

// Stat looks at rel itself; a link is not followed.
func (d *Dir) Stat(rel string) (unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := d.beneath(rel, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		// The walk ends at the link itself only with O_PATH|O_NOFOLLOW;
		// NO_SYMLINKS still reports ELOOP for a link in the middle.
		return st, err
	}
	defer unix.Close(fd)
	return st, unix.Fstat(fd, &st)
}

// DirFD is a directory of the source that many names are looked at in.
type DirFD struct {
	fd  int
	dev uint64
}

// OpenDir returns a directory of the source. Nothing is read from it.
func (d *Dir) OpenDir(rel string) (DirFD, error) {
	fd, err := d.beneath(rel, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return DirFD{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return DirFD{}, err
	}
	return DirFD{fd, uint64(st.Dev)}, nil
}

// FD is the descriptor, with O_PATH. It belongs to the DirFD.
func (d DirFD) FD() int { return d.fd }

// Close lets go of the directory.
func (d DirFD) Close() { unix.Close(d.fd) }

// Stat is Dir.Stat for one name in the directory, in a third of the calls.
func (d DirFD) Stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
	if err == nil && uint64(st.Dev) != d.dev {
		err = unix.EXDEV // a mount point is not crossed
	}
	return st, err
}

// Entry is one name of a source directory.
type Entry struct {
	Name string
	Kind uint32 // ModeDir, ModeFile, ModeLink; special files are left out
}

// List returns the names of a directory in the order of the file system.
func (d *Dir) List(rel string) ([]Entry, error) {
	fd, err := d.beneath(rel, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), rel)
	defer f.Close()
	var out []Entry
	for {
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			// ReadDir asks lstat where the directory does not tell types.
			switch e.Type() {
			case 0:
				out = append(out, Entry{e.Name(), ModeFile})
			case os.ModeDir:
				out = append(out, Entry{e.Name(), ModeDir})
			case os.ModeSymlink:
				out = append(out, Entry{e.Name(), ModeLink})
			}
		}
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// Join appends a name to a source path, "" being the source itself.
func Join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
