package fs

import (
	"errors"
	"time"

	"github.com/kmsfs/kmsfs/fs/audit"
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
	cfg := session.Config{Mount: f.cfg.Mount, Handler: f, IsLocal: f.source.IsLocal, Systemd: f.cfg.ReadBySystemd != nil, Log: f.cfg.Log}
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

// takeOver serves on where a predecessor stopped or died: it answers what is
// under way, and drops the pages whose end nobody waits for any more.
func (f *FS) takeOver() {
	f.resumed = true
	paged := f.session.LeftPaged()
	f.pages.Inherit(paged)
	n := f.session.Serve()
	go f.pages.DropInherited()
	f.cfg.Log.Info("successor took over", "mountpoint", audit.Printable(f.cfg.Mount.Point), "under_way", n, "paged", len(paged))
}

// Quiesce waits until nothing is being notified to the kernel, and lets nothing
// be from then on. It is called, while requests are still answered, before
// anything that a thread must not keep from ending: exec, exit. It returns false
// after the time given; then nothing has changed. Restart takes it back.
func (f *FS) Quiesce(patience time.Duration) bool { return f.notifications.Quiesce(patience) }

// Stop ends the serving for a successor: nothing is lost, and nothing is
// unmounted. What was not answered within the time given is in the journal;
// then it returns false, and an answer may still be given.
func (f *FS) Stop(patience time.Duration) bool {
	defer f.audit.Flush()
	return f.session.Stop(patience, f.nodes.fileIDs())
}

// Dismiss ends all loads with an error, and every later one: the end is near, and
// there is no successor.
func (f *FS) Dismiss() { f.cfg.Cache.Close() }

// Abandon leaves what is under way after a Stop to a successor: from now on
// nothing is answered any more, and no plaintext is in use.
func (f *FS) Abandon() {
	f.session.Abandon()
	f.audit.Flush()
}

// Restart serves on after a Quiesce, and a Stop, that no successor followed.
func (f *FS) Restart() {
	f.session.Restart()
	f.notifications.Open()
}
