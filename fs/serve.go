package fs

import (
	"errors"
	"fmt"

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
func (f *FS) Mount() (done <-chan struct{}, err error) {
	fd, err := f.attach()
	if err != nil {
		return nil, err
	}
	j, err := newJournal()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s: %w", f.cfg.Mountpoint, err), f.Unmount(true))
	}
	f.loop = &loop{fs: f, kernel: &kernel{fd: fd}, journal: j}
	f.pages.start(f.loop.kernel)
	f.watch.start(f.loop.kernel)
	f.loop.start()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.loop.running.Wait()
		f.loop.kernel.close()
		f.loop.journal.close()
		f.release()
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
