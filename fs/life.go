package fs

import (
	"errors"

	"github.com/kmsfs/kmsfs/fs/session"
)

// Mount attaches the filesystem to its mountpoint and answers requests until
// it is unmounted. It returns once the kernel has been answered for the first
// time and the effective options are what they must be; the channel is closed
// when the connection has ended and everything is released.
//
// With a lifeline in the configuration it serves on where a predecessor has
// stopped or died.
func (f *FS) Mount() (done <-chan struct{}, err error) {
	cfg := session.Config{Mount: f.cfg.Mount, Handler: f, IsLocal: f.source.IsLocal, Log: f.cfg.Log}
	if f.cfg.Lifeline != nil {
		f.session, err = session.Inherit(f.cfg.Lifeline, cfg)
	} else {
		f.session, err = session.Attach(f.source.File(), cfg)
	}
	if err != nil {
		return nil, err
	}
	f.dirs.last = uint64(f.session.Epoch()) << 32 // no number is given twice
	f.notifications.Start(f.session)
	f.pages.Start(&f.notifications, f.session)
	f.names.Start(&f.notifications)
	ended := make(chan struct{})
	first := f.session.IsFirst()
	if first {
		f.session.Serve()
	} else {
		f.takeOver()
	}
	go func() {
		defer close(ended)
		<-f.session.Ended()
		f.session.Close()
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

// Lifeline returns what a successor needs. It belongs to the filesystem.
func (f *FS) Lifeline() *session.Lifeline { return f.session.Lifeline() }

// Unmount detaches the filesystem, as its Spec says.
func (f *FS) Unmount(lazy bool) error { return f.cfg.Mount.Unmount(lazy) }
