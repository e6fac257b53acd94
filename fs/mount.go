package fs

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

// maxRead is the most that one READ asks for.
const maxRead = 128 << 10

// mountOptions hold in every mode. They are read back after mounting.
var mountOptions = []string{"ro", "nosuid", "nodev", "noexec"}

const mountFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// attach mounts, and returns the descriptor that speaks to the kernel: the one
// that was handed in, if somebody else has mounted. Otherwise the kernel is
// asked, and where it refuses that to this user, fusermount3.
func (f *FS) attach() (fd int, err error) {
	if f.cfg.Device != nil {
		// Nothing is answered where others could get round the permissions.
		if err := f.checkHandedIn(); err != nil {
			return -1, err
		}
		return unix.FcntlInt(f.cfg.Device.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	}
	fd, err = f.attachDirectly(os.Geteuid(), os.Getegid())
	if errors.Is(err, syscall.EPERM) && os.Geteuid() != 0 {
		return f.attachThroughFusermount()
	}
	return fd, err
}

// Premount mounts for another process to serve, which will run as a user of
// its own. The file is the kernel's end: that process has it as its Device.
func Premount(cfg Config, owner uint32) (*os.File, error) {
	f := &FS{cfg: cfg}
	fd, err := f.attachDirectly(int(owner), 0)
	if err != nil {
		return nil, err
	}
	device := os.NewFile(uintptr(fd), "/dev/fuse")
	if err := f.effective(); err != nil {
		device.Close()
		return nil, errors.Join(err, f.Unmount(true))
	}
	return device, nil
}

// attachDirectly asks the kernel, without a helper.
func (f *FS) attachDirectly(uid, gid int) (fd int, err error) {
	fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d,default_permissions",
		fd, unix.S_IFDIR, uid, gid, maxRead)
	if f.cfg.AllowOther {
		options += ",allow_other"
	}
	err = unix.Mount(f.cfg.Source, f.cfg.Mountpoint, Type, mountFlags, options)
	if err == nil {
		if err = f.propagate(); err == nil {
			return fd, nil
		}
		err = errors.Join(err, Unmount(f.cfg.Mountpoint, true))
	}
	unix.Close(fd)
	return -1, fmt.Errorf("mount %s: %w", f.cfg.Mountpoint, err)
}

// propagate decides whether a bind mount, or a mount namespace that is made
// later, hears of what happens here.
func (f *FS) propagate() error {
	how := uintptr(unix.MS_PRIVATE)
	if f.cfg.Shared {
		how = unix.MS_SHARED
	}
	return unix.Mount("", f.cfg.Mountpoint, "", how, "")
}

func (f *FS) attachThroughFusermount() (fd int, err error) {
	if f.cfg.Shared {
		return -1, fmt.Errorf("mount %s: shared: %w", f.cfg.Mountpoint, syscall.EPERM)
	}
	// Commas separate options, backslashes escape: a source must not add any.
	source := strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(f.cfg.Source)
	options := append(slices.Clone(mountOptions), "default_permissions", fmt.Sprintf("max_read=%d", maxRead), "subtype=kmsfs", "fsname="+source)
	if f.cfg.AllowOther {
		options = append(options, "allow_other")
	}
	fd, err = fusermountDevice(f.cfg.Mountpoint, strings.Join(options, ","))
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", f.cfg.Mountpoint, err)
	}
	return fd, nil
}

// checkMount checks the effective options, and then looks at the root through
// the kernel, which proves that the mount answers.
func (f *FS) checkMount() error {
	if err := f.effective(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(f.cfg.Mountpoint, &st); err != nil {
		return fmt.Errorf("check mount %s: %w", f.cfg.Mountpoint, err)
	}
	return nil
}

// effective reads the options from the mount table: what was asked for is not
// what counts.
func (f *FS) effective() error {
	m, ok, err := MountAt(f.cfg.Mountpoint)
	if err != nil {
		return err
	}
	if !ok || m.Type != Type {
		return fmt.Errorf("check mount %s: it is not in the mount table", f.cfg.Mountpoint)
	}
	return m.check(f.cfg.AllowOther)
}

// checkHandedIn checks the mount of a descriptor that was handed in, or all
// that it may belong to.
func (f *FS) checkHandedIn() error {
	all, err := MountOf(f.cfg.Device)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("check mount %s: it is not in the mount table", f.cfg.Mountpoint)
	}
	for _, m := range all {
		err = errors.Join(err, m.check(f.cfg.AllowOther))
	}
	return err
}

// check tells whether a mount has the options without which kmsfs does not
// serve.
func (m MountEntry) check(allowOther bool) error {
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
func (f *FS) Unmount(lazy bool) error {
	if f.cfg.Device != nil {
		return fmt.Errorf("unmount %s: %w", f.cfg.Mountpoint, errors.ErrUnsupported)
	}
	if m, ok, err := MountAt(f.cfg.Mountpoint); err == nil && ok && m.Type != Type {
		return fmt.Errorf("unmount %s: another file system is mounted over it: %w", f.cfg.Mountpoint, syscall.EBUSY)
	}
	return Unmount(f.cfg.Mountpoint, lazy)
}

// Unmount detaches what is mounted at a path; see FS.Unmount.
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
