package session

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/mount"
)

// Lifeline is what outlives the process that serves a mount: whoever has it
// can serve on. Nothing in it is secret, but whoever has it answers what is
// read from the mount; so it is passed on by inheritance and through root's hands,
// and never through a socket that anybody can connect to. It never lies with
// systemd: the connection ends with the last copy of the device, and systemd itself
// may be waiting for that end.
type Lifeline struct {
	Device  *os.File // of /dev/fuse, with the connection
	Journal *os.File // what is under way
	Source  *os.File // the source directory, which may lie under the mount
}

// The names of its descriptors, where they are passed on by name.
const (
	DeviceName  = "kmsfs-device"
	JournalName = "kmsfs-journal"
	SourceName  = "kmsfs-source"
)

// attach mounts, and makes what a successor would need.
func attach(spec mount.Spec, source *os.File) (*Lifeline, error) {
	fd, err := spec.Attach()
	if err != nil {
		return nil, err
	}
	device := os.NewFile(uintptr(fd), "/dev/fuse")
	m, _, err := mount.At(spec.Point)
	if err == nil {
		var j *journal
		if j, err = newJournal(); err == nil {
			j.head.device, err = m.DeviceNumber()
			if spec.Device != nil {
				err = nil // attach has looked for its mount
			}
			defer j.unmap()
			return &Lifeline{device, j.file, source}, err
		}
	}
	device.Close()
	return nil, errors.Join(fmt.Errorf("mount %s: %w", spec.Point, err), spec.Unmount(true))
}

// CheckJournal tells whether this program understands what its predecessor has
// written.
func (l *Lifeline) CheckJournal() error {
	j, err := openJournal(l.Journal)
	if err != nil {
		return err
	}
	j.unmap()
	j.close()
	return nil
}

// check tells whether a lifeline is that of the mount it is meant for: a
// descriptor of /dev/fuse whose connection is that of the file system at the
// mountpoint, with the options in force without which nothing is served.
// Kernels before 6.17 do not tell the connection of a descriptor; there it is
// the number in the journal that is compared, and whoever can give us a false
// pair of both can start kmsfs with any arguments as well.
func (l *Lifeline) check(spec mount.Spec, j *journal) error {
	if !mount.IsDevice(int(l.Device.Fd())) {
		return errors.New("take over: no descriptor of /dev/fuse")
	}
	m, ok, err := mount.At(spec.Point)
	if err != nil {
		return err
	}
	if !ok || m.Type != mount.Type {
		return fmt.Errorf("take over %s: it is not in the mount table", spec.Point)
	}
	number, err := m.DeviceNumber()
	if err != nil {
		return err
	}
	all, err := mount.Of(l.Device)
	if err != nil {
		return fmt.Errorf("take over %s: %w", spec.Point, err)
	}
	if !slices.ContainsFunc(all, func(e mount.Entry) bool { return e.Device == m.Device }) {
		return fmt.Errorf("take over %s: the descriptor is that of another mount", spec.Point)
	}
	if j.head.device != number {
		return fmt.Errorf("take over %s: the journal is that of another mount", spec.Point)
	}
	return m.Check(spec.AllowOther)
}

// Alive tells whether there is still a mount at the other end.
func (l *Lifeline) Alive() bool {
	p := []unix.PollFd{{Fd: int32(l.Device.Fd()), Events: unix.POLLOUT}}
	_, err := unix.Poll(p, 0)
	return err == unix.EINTR || err == nil && p[0].Revents&unix.POLLERR == 0
}

// Close lets go of it. With the last copy ends the connection.
func (l *Lifeline) Close() {
	l.Device.Close()
	l.Journal.Close()
	l.Source.Close()
}
