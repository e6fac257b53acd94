// Package mount puts a file system of type fuse.kmsfs into the mount table,
// finds it there, and takes it out again: with mount(2), and where that is
// refused to a user, with fusermount3.
//
// It knows nothing of what is served. What it hands out is the descriptor that
// speaks to the kernel.
package mount

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Type is the file system type in the mount table.
const Type = "fuse.kmsfs"

// MaxRead is the most that one READ asks for.
const MaxRead = 128 << 10

// mountOptions hold in every mode. They are read back after mounting.
var mountOptions = []string{"ro", "nosuid", "nodev", "noexec"}

const mountFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// Attach mounts, and returns the descriptor that speaks to the kernel: the one
// that was handed in, if somebody else has mounted. Otherwise the kernel is
// asked, and where it refuses that to this user, fusermount3.
func (s Spec) Attach() (fd int, err error) {
	if s.Device != nil {
		// Nothing is answered where others could get round the permissions.
		if err := s.checkHandedIn(); err != nil {
			return -1, err
		}
		return unix.FcntlInt(s.Device.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	}
	fd, err = s.attachDirectly(os.Geteuid(), os.Getegid())
	if errors.Is(err, syscall.EPERM) && os.Geteuid() != 0 {
		return s.attachThroughFusermount()
	}
	return fd, err
}

// Premount mounts for another process to serve, which will run as a user of
// its own. The file is the kernel's end: that process has it as its Device.
func (s Spec) Premount(owner uint32) (*os.File, error) {
	fd, err := s.attachDirectly(int(owner), 0)
	if err != nil {
		return nil, err
	}
	device := os.NewFile(uintptr(fd), "/dev/fuse")
	if err := s.effective(); err != nil {
		device.Close()
		return nil, errors.Join(err, s.Unmount(true))
	}
	return device, nil
}

// attachDirectly asks the kernel, without a helper.
func (s Spec) attachDirectly(uid, gid int) (fd int, err error) {
	fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d,default_permissions",
		fd, unix.S_IFDIR, uid, gid, MaxRead)
	if s.AllowOther {
		options += ",allow_other"
	}
	err = unix.Mount(s.Source, s.Point, Type, mountFlags, options)
	if err == nil {
		if err = s.propagate(); err == nil {
			return fd, nil
		}
		err = errors.Join(err, Unmount(s.Point, true))
	}
	unix.Close(fd)
	return -1, fmt.Errorf("mount %s: %w", s.Point, err)
}

// propagate decides whether a bind mount, or a mount namespace that is made
// later, hears of what happens here.
func (s Spec) propagate() error {
	how := uintptr(unix.MS_PRIVATE)
	if s.Shared {
		how = unix.MS_SHARED
	}
	return unix.Mount("", s.Point, "", how, "")
}

func (s Spec) attachThroughFusermount() (fd int, err error) {
	if s.Shared {
		return -1, fmt.Errorf("mount %s: shared: %w", s.Point, syscall.EPERM)
	}
	// Commas separate options, backslashes escape: a source must not add any.
	source := strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(s.Source)
	options := append(slices.Clone(mountOptions),
		"default_permissions", fmt.Sprintf("max_read=%d", MaxRead), "subtype=kmsfs", "fsname="+source)
	if s.AllowOther {
		options = append(options, "allow_other")
	}
	fd, err = fusermountDevice(s.Point, strings.Join(options, ","))
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", s.Point, err)
	}
	return fd, nil
}

// Check checks the effective options, and then looks at the root through
// the kernel, which proves that the mount answers.
func (s Spec) Check() error {
	if err := s.effective(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(s.Point, &st); err != nil {
		return fmt.Errorf("check mount %s: %w", s.Point, err)
	}
	return nil
}

// effective reads the options from the mount table: what was asked for is not
// what counts.
func (s Spec) effective() error {
	m, ok, err := At(s.Point)
	if err != nil {
		return err
	}
	if !ok || m.Type != Type {
		return fmt.Errorf("check mount %s: it is not in the mount table", s.Point)
	}
	return m.Check(s.AllowOther)
}

// checkHandedIn checks the mount of a descriptor that was handed in, or all
// that it may belong to.
func (s Spec) checkHandedIn() error {
	all, err := Of(s.Device)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("check mount %s: it is not in the mount table", s.Point)
	}
	for _, m := range all {
		err = errors.Join(err, m.Check(s.AllowOther))
	}
	return err
}

// Check tells whether a mount has the options without which kmsfs does not
// serve.
func (m Entry) Check(allowOther bool) error {
	for _, o := range mountOptions {
		if !slices.Contains(m.Options, o) {
			return &OptionError{m.Point, o}
		}
	}
	if !slices.Contains(m.Super, "default_permissions") {
		return &OptionError{m.Point, "default_permissions"}
	}
	if got := slices.Contains(m.Super, "allow_other"); got != allowOther {
		return fmt.Errorf("check mount %s: allow_other is %t, not %t", m.Point, got, allowOther)
	}
	return nil
}

// OptionError is a mount without an option that kmsfs needs.
type OptionError struct{ Point, Option string }

func (e *OptionError) Error() string {
	return fmt.Sprintf("check mount %s: option %s is not in force", e.Point, e.Option)
}

// Unmount detaches the filesystem. A busy one is left alone with EBUSY,
// unless lazy: then no path leads to it any more at once, and it ends with
// its last open file. A mount that was handed in is not ours to unmount.
func (s Spec) Unmount(lazy bool) error {
	if s.Device != nil {
		return fmt.Errorf("unmount %s: %w", s.Point, errors.ErrUnsupported)
	}
	if m, ok, err := At(s.Point); err == nil && ok && m.Type != Type {
		return fmt.Errorf("unmount %s: another file system is mounted over it: %w", s.Point, syscall.EBUSY)
	}
	return Unmount(s.Point, lazy)
}

// Unmount detaches what is mounted at a path; see Spec.Unmount.
func Unmount(point string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(point, flags)
	if err == syscall.EPERM && os.Geteuid() != 0 {
		return fusermountUnmount(point, lazy)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", point, err)
	}
	return nil
}
