package fs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// source is the untrusted directory that holds the ciphertext. Whoever can
// write to it may plant any bytes, names and file types, and may swap
// directories for links while we look.
//
// INVARIANT: every access starts at the directory handle taken before the
// mount and stays beneath it: no link, no magic link and no mount point is
// ever crossed, and nothing but a regular file is opened for reading. So a
// mount over the source itself still reads what lies under it.
type source struct {
	dir   *os.File // O_PATH
	local bool     // a file system in memory or on a disk of this machine
}

// openSource takes the handle. The path itself may contain links.
func openSource(name string) (*source, error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open source: %w", &os.PathError{Op: "open", Path: name, Err: err})
	}
	var st unix.Statfs_t
	known := unix.Fstatfs(fd, &st) == nil && localTypes[int64(st.Type)]
	return &source{os.NewFile(uintptr(fd), name), known}, nil
}

// localTypes are file systems that answer at once, or after one look at a disk.
var localTypes = map[int64]bool{
	unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.BTRFS_SUPER_MAGIC: true, unix.F2FS_SUPER_MAGIC: true, 0x2fc12fc1: true, // ZFS
	unix.TMPFS_MAGIC: true, unix.RAMFS_MAGIC: true, unix.OVERLAYFS_SUPER_MAGIC: true, unix.SQUASHFS_MAGIC: true, unix.EROFS_SUPER_MAGIC_V1: true,
}

func (s *source) close() { s.dir.Close() }

// beneath resolves rel ("" is the source itself) with openat2.
func (s *source) beneath(rel string, flags uint64) (int, error) {
	if rel == "" {
		rel = "."
	}
	return beneath(int(s.dir.Fd()), rel, flags)
}

func beneath(dir int, rel string, flags uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err := unix.Openat2(dir, rel, &how)
		// EAGAIN without O_PATH may be a lease on the file, see openFile; with
		// it, only a rename or a mount somewhere raced with the walk.
		if err == unix.EINTR || (err == unix.EAGAIN && flags&unix.O_PATH != 0) {
			continue
		}
		return fd, err
	}
}

// stat looks at rel itself; a link is not followed.
func (s *source) stat(rel string) (unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := s.beneath(rel, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		// The walk ends at the link itself only with O_PATH|O_NOFOLLOW;
		// NO_SYMLINKS still reports ELOOP for a link in the middle.
		return st, err
	}
	defer unix.Close(fd)
	return st, unix.Fstat(fd, &st)
}

// place is a directory of the source that many names are looked at in.
type place struct {
	fd  int
	dev uint64
}

func (s *source) place(rel string) (place, error) {
	fd, err := s.beneath(rel, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return place{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return place{}, err
	}
	return place{fd, uint64(st.Dev)}, nil
}

func (p place) close() { unix.Close(p.fd) }

// stat is source.stat for one name in the directory, in a third of the calls.
func (p place) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(p.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
	if err == nil && uint64(st.Dev) != p.dev {
		err = unix.EXDEV // a mount point is not crossed
	}
	return st, err
}

// readRegular is source.readRegular for one name in the directory.
func (p place) readRegular(name string, room []byte) ([]byte, unix.Stat_t, error) {
	return readSteady(func() (int, unix.Stat_t, error) { return openRegular(p.fd, name) }, room)
}

// openFile opens a regular file for reading and never blocks: a FIFO, socket
// or device is refused before it is opened, and a lease that another process
// holds on the file fails with EAGAIN at once instead of waiting for it.
func (s *source) openFile(rel string) (int, unix.Stat_t, error) {
	st, err := s.stat(rel)
	if err != nil {
		return -1, st, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, st, unix.EINVAL
	}
	return s.openRegular(rel)
}

// openRegular is openFile for a path that was a regular file a moment ago.
func (s *source) openRegular(rel string) (int, unix.Stat_t, error) {
	return openRegular(int(s.dir.Fd()), rel)
}

func openRegular(dir int, rel string) (int, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := beneath(dir, rel, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return -1, st, err
	}
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		if err == nil {
			err = unix.EINVAL
		}
		return -1, st, err
	}
	return fd, st, nil
}

// errTorn: the file changed while it was read, several times in a row.
var errTorn = errors.New("file is being rewritten")

// readFile returns the bytes of a regular file and the stat that belongs to
// them, in room, or no bytes when the file is longer than that. A look that the file
// changed under is repeated.
func (s *source) readFile(rel string, room []byte) ([]byte, unix.Stat_t, error) {
	return readSteady(func() (int, unix.Stat_t, error) { return s.openFile(rel) }, room)
}

// readRegular is readFile for a path that was a regular file a moment ago.
func (s *source) readRegular(rel string, room []byte) ([]byte, unix.Stat_t, error) {
	return readSteady(func() (int, unix.Stat_t, error) { return s.openRegular(rel) }, room)
}

func readSteady(open func() (int, unix.Stat_t, error), room []byte) ([]byte, unix.Stat_t, error) {
	for range 20 {
		b, st, err := readOnce(open, room)
		if err != errTorn {
			return b, st, err
		}
	}
	return nil, unix.Stat_t{}, errTorn
}

func readOnce(open func() (int, unix.Stat_t, error), room []byte) ([]byte, unix.Stat_t, error) {
	fd, before, err := open()
	if err != nil {
		return nil, before, err
	}
	defer unix.Close(fd)
	if before.Size > int64(len(room)) {
		return nil, before, nil
	}
	b := room[:before.Size]
	n := 0
	for int64(n) != before.Size { // the second look says whether it grew
		k, err := unix.Read(fd, b[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, before, err
		}
		if k == 0 {
			break
		}
		n += k
	}
	var after unix.Stat_t
	if err := unix.Fstat(fd, &after); err != nil {
		return nil, before, err
	}
	if int64(n) != before.Size || tupleOf(&before) != tupleOf(&after) {
		return nil, before, errTorn
	}
	return b[:n], before, nil
}

// inWriting tells whether a file is not the version that was seen any more,
// or is open for writing somewhere: only then does the kernel refuse a lease
// for reading. Where leases are not to be had (another's file without
// CAP_LEASE, some file systems) it says no.
func (s *source) inWriting(rel string, seen tuple) bool {
	fd, st, err := s.openRegular(rel)
	if err != nil || tupleOf(&st) != seen {
		return true
	}
	defer unix.Close(fd) // and with it the lease
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	return err == unix.EAGAIN
}

// dirent is one name of a source directory.
type dirent struct {
	name string
	typ  uint32 // S_IFREG, S_IFDIR, S_IFLNK; special files are left out
}

// list returns the names of a directory in the order of the file system.
func (s *source) list(rel string) ([]dirent, error) {
	fd, err := s.beneath(rel, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(fd), rel)
	defer d.Close()
	var out []dirent
	for {
		entries, err := d.ReadDir(1024)
		for _, e := range entries {
			// ReadDir asks lstat where the directory does not tell types.
			switch e.Type() {
			case 0:
				out = append(out, dirent{e.Name(), unix.S_IFREG})
			case os.ModeDir:
				out = append(out, dirent{e.Name(), unix.S_IFDIR})
			case os.ModeSymlink:
				out = append(out, dirent{e.Name(), unix.S_IFLNK})
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

// readLink returns the text of a link.
func (s *source) readLink(rel string) (string, error) {
	fd, err := s.beneath(rel, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var b [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", b[:])
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// isDir tells whether a path leads to a directory beneath the source, links
// beneath it allowed.
func (s *source) isDir(rel string) bool {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(int(s.dir.Fd()), rel, &how)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// join appends a name to a source path, "" being the source itself.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// confine judges the text of a link at rel. The kernel resolves the text in
// the reader's own tree, so a link is passed on only when it cannot lead out
// of the mount from anywhere: a relative path whose ".." all stand in front
// and are no more than the directories above the link. A ".." behind a name
// could climb out through a second link and is refused as well.
func confine(rel, target string) bool {
	if target == "" || path.IsAbs(target) || strings.ContainsRune(target, 0) {
		return false
	}
	depth := strings.Count(rel, "/")
	leading := true
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; !leading || depth < 0 {
				return false
			}
		default:
			leading = false
		}
	}
	return true
}
