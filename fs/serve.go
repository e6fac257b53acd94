package fs

import (
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Type is the file system type in the mount table.
const Type = "fuse.kmsfs"

// mountOptions hold in every mode. They are read back after mounting.
var mountOptions = []string{"ro", "nosuid", "nodev", "noexec"}

// Mount attaches the filesystem to its mountpoint and answers requests until
// it is unmounted. It returns once the kernel has been answered for the first
// time and the effective options are what they must be; the channel is closed
// when the connection has ended and everything is released.
//
// The read loop is go-fuse's own. It is started here and nowhere else, so
// that another one can take its place.
func (f *FS) Mount() (done <-chan struct{}, err error) {
	opts := &fuse.MountOptions{
		Name:              "kmsfs",
		FsName:            f.cfg.Source,
		AllowOther:        f.cfg.AllowOther,
		DirectMountStrict: os.Geteuid() == 0, // else fusermount3 mounts for us
		DirectMountFlags:  unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC,
		Options:           []string{"default_permissions"},
		// Asking two xattrs per file made ls -l 15 times slower, and
		// splicing never wins with replies this small.
		DisableXAttrs: true,
		DisableSplice: true,
		// A shared mapping of a file that bypasses the page cache works
		// where the kernel knows this flag (6.6 and later).
		ExtraCapabilities: fuse.CAP_DIRECT_IO_ALLOW_MMAP,
		Logger:            log.New(io.Discard, "", 0),
		PanicHandler:      f.recovered,
	}
	if !opts.DirectMountStrict {
		opts.Options = append(opts.Options, mountOptions...)
	}
	server, err := fuse.NewServer(f, f.cfg.Mountpoint, opts)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", f.cfg.Mountpoint, err)
	}
	// go-fuse opens /dev/fuse without O_CLOEXEC when it mounts by itself: a
	// command run for credentials would hold the connection.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s: close on exec: %w", f.cfg.Mountpoint, err), f.Unmount(true))
	}
	f.pages.start(server)
	f.watch.start(server)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.Serve() // ends with OnUnmount
	}()
	if err := f.checkMount(); err != nil {
		if uerr := f.Unmount(true); uerr != nil {
			err = errors.Join(err, uerr)
		} else {
			<-ended
		}
		return nil, err
	}
	return ended, nil
}

// recovered turns a panic in a handler into EIO for that request. The value
// is not printed: it might quote what it was working on. The stack holds no
// contents.
func (f *FS) recovered(any) fuse.Status {
	f.cfg.Log.Error("internal error while answering the kernel", "stack", string(debug.Stack()))
	return fuse.EIO
}

// checkMount reads the effective options from the mount table: what was asked
// for is not what counts. It then looks at the root through the kernel, which
// proves that the mount answers.
func (f *FS) checkMount() error {
	m, ok, err := MountAt(f.cfg.Mountpoint)
	if err != nil {
		return err
	}
	if !ok || m.Type != Type {
		return fmt.Errorf("check mount %s: it is not in the mount table", f.cfg.Mountpoint)
	}
	for _, o := range mountOptions {
		if !slices.Contains(m.Options, o) {
			return fmt.Errorf("check mount %s: option %s is not in force", f.cfg.Mountpoint, o)
		}
	}
	if !slices.Contains(m.Super, "default_permissions") {
		return fmt.Errorf("check mount %s: option default_permissions is not in force", f.cfg.Mountpoint)
	}
	if got := slices.Contains(m.Super, "allow_other"); got != f.cfg.AllowOther {
		return fmt.Errorf("check mount %s: allow_other is %t, not %t", f.cfg.Mountpoint, got, f.cfg.AllowOther)
	}
	var st unix.Stat_t
	if err := unix.Stat(f.cfg.Mountpoint, &st); err != nil {
		return fmt.Errorf("check mount %s: %w", f.cfg.Mountpoint, err)
	}
	return nil
}

// Unmount detaches the filesystem. A busy one is left alone with EBUSY,
// unless lazy: then no path leads to it any more at once, and it ends with
// its last open file.
func (f *FS) Unmount(lazy bool) error {
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
		return fusermount(point, lazy)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", point, err)
	}
	return nil
}
