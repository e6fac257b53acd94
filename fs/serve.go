package fs

import (
	"errors"
	"fmt"
	"io"
	"log"
	"runtime/debug"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mount attaches the filesystem to its mountpoint and answers requests until
// it is unmounted. It returns once the kernel has been answered for the first
// time and the effective options are what they must be; the channel is closed
// when the connection has ended and everything is released.
//
// The read loop is go-fuse's own. It is started here and nowhere else, so
// that another one can take its place.
func (f *FS) Mount() (done <-chan struct{}, err error) {
	fd, err := f.attach()
	if err != nil {
		return nil, err
	}
	server, err := fuse.NewServer(f, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{
		Name:     "kmsfs",
		MaxWrite: maxRead,
		// Asking two xattrs per file made ls -l 15 times slower, and
		// splicing never wins with replies this small.
		DisableXAttrs: true,
		DisableSplice: true,
		// A shared mapping of a file that bypasses the page cache works
		// where the kernel knows this flag (6.6 and later).
		ExtraCapabilities: fuse.CAP_DIRECT_IO_ALLOW_MMAP,
		Logger:            log.New(io.Discard, "", 0),
		PanicHandler:      f.recovered,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s: %w", f.cfg.Mountpoint, err), f.Unmount(true))
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
