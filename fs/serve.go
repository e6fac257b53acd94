package fs

import (
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// notifier is what the kernel can be told without having asked.
type notifier interface {
	EntryNotify(parent uint64, name string) fuse.Status
	InodeNotify(ino uint64, off, length int64) fuse.Status
}

// Mount attaches the filesystem to its mountpoint and answers requests until
// it is unmounted. It returns once the kernel has been answered for the first
// time and the effective options are what they must be; the channel is closed
// when the connection has ended and everything is released.
//
// With a lifeline in the configuration it serves on where a predecessor has
// stopped or died, and looks at no path that leads through the mount: what is
// asked there waits for us.
func (f *FS) Mount() (done <-chan struct{}, err error) {
	if f.line = f.cfg.Lifeline; f.line == nil {
		if f.line, err = f.attachLifeline(); err != nil {
			return nil, err
		}
	}
	j, err := openJournal(f.line.Journal)
	if err != nil {
		return nil, err
	}
	if f.cfg.Lifeline != nil {
		if err := f.line.check(f.cfg.Mount, j); err != nil {
			return nil, err
		}
	}
	j.head.epoch++
	f.dirs.last = uint64(j.head.epoch) << 32 // no number is given twice
	f.loop = &loop{fs: f, kernel: &kernel{device: f.line.Device, fd: int(f.line.Device.Fd())}, journal: j, gone: make(chan struct{})}
	f.pages.journal = j
	f.notifications.to = f.loop.kernel
	f.pages.start(&f.notifications)
	f.watch.start(&f.notifications)
	ended := make(chan struct{})
	first := j.head.minor == 0
	if first {
		f.loop.start()
	} else {
		f.takeOver()
	}
	go func() {
		defer close(ended)
		<-f.loop.gone
		f.loop.kernel.close()
		f.line.Journal.Close()
		j.close()
		f.release()
	}()
	if !first {
		return ended, nil
	}
	if err := f.cfg.Mount.Check(); err != nil {
		if uerr := f.Unmount(true); uerr != nil {
			err = errors.Join(err, uerr)
		} else {
			<-ended
		}
		return nil, err
	}
	return ended, nil
}

// Unmount detaches the filesystem, as its Spec says.
func (f *FS) Unmount(lazy bool) error { return f.cfg.Mount.Unmount(lazy) }
