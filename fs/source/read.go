package source

import (
	"errors"

	"golang.org/x/sys/unix"
)

// OpenFile opens a regular file for reading and never blocks: a FIFO, socket
// or device is refused before it is opened, and a lease that another process
// holds on the file fails with EAGAIN at once instead of waiting for it.
func (d *Dir) OpenFile(rel string) (int, unix.Stat_t, error) {
	st, err := d.Stat(rel)
	if err != nil {
		return -1, st, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, st, unix.EINVAL
	}
	return d.openRegular(rel)
}

// openRegular is OpenFile for a path that was a regular file a moment ago.
func (d *Dir) openRegular(rel string) (int, unix.Stat_t, error) {
	return openRegular(int(d.file.Fd()), rel)
}

func openRegular(dir int, rel string) (int, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := openBeneath(dir, rel, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
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

// ErrTorn: the file changed while it was read, several times in a row.
var ErrTorn = errors.New("file is being rewritten")

// ReadFile returns the bytes of a regular file and the stat that belongs to
// them, in room, or no bytes when the file is longer than that. A look that
// the file changed under is repeated.
func (d *Dir) ReadFile(rel string, room []byte) ([]byte, unix.Stat_t, error) {
	return readSteady(func() (int, unix.Stat_t, error) { return d.OpenFile(rel) }, room)
}

// ReadRegular is ReadFile for a path that was a regular file a moment ago.
func (d *Dir) ReadRegular(rel string, room []byte) ([]byte, unix.Stat_t, error) {
	return readSteady(func() (int, unix.Stat_t, error) { return d.openRegular(rel) }, room)
}

func readSteady(open func() (int, unix.Stat_t, error), room []byte) ([]byte, unix.Stat_t, error) {
	for range 20 {
		b, st, err := readOnce(open, room)
		if err != ErrTorn {
			return b, st, err
		}
	}
	return nil, unix.Stat_t{}, ErrTorn
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
	if int64(n) != before.Size || TupleOf(&before) != TupleOf(&after) {
		return nil, before, ErrTorn
	}
	return b[:n], before, nil
}

// InWriting tells whether a file is not the version that was seen any more,
// or is open for writing somewhere: only then does the kernel refuse a lease
// for reading. Where leases are not to be had (another's file without
// CAP_LEASE, some file systems) it says no.
func (d *Dir) InWriting(rel string, seen Tuple) bool {
	fd, st, err := d.openRegular(rel)
	if err != nil || TupleOf(&st) != seen {
		return true
	}
	defer unix.Close(fd) // and with it the lease
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	return err == unix.EAGAIN
}

// ReadRegular is Dir.ReadRegular for one name in the directory.
func (d DirFD) ReadRegular(name string, room []byte) ([]byte, unix.Stat_t, error) {
	return readSteady(func() (int, unix.Stat_t, error) { return openRegular(d.fd, name) }, room)
}
