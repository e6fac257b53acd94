package daemon

import (
	"errors"
	"syscall"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/fs"
)

// successionPatience is how long a server lets its successor wait for a moment in
// which the kernel is told nothing. It answers meanwhile.
const successionPatience = time.Second

// startCloser starts who ends the connection if this process cannot: at once where
// nobody would start a successor, else as soon as that is so, whatever else this
// process is busy with.
func (d *daemon) startCloser(orphaned <-chan struct{}) {
	d.closer = supervise.NewCloser(d.files.Lifeline(), d.Point, d.warnings.warn)
	if d.in.Alone() {
		d.closer.Start()
		return
	}
	go func() {
		<-orphaned
		d.closer.Start()
	}()
}

// quiesceAndLeave is leave before this process ends, which waits for what is being
// notified, too.
func (d *daemon) quiesceAndLeave() {
	if d.files.Quiesce(d.quiescence()) {
		defer d.closer.Stop()
	}
	d.leave()
}

// leave ends the serving and leaves what is under way as it is: it would be
// answered with an error, and a successor begins it anew.
func (d *daemon) leave() {
	if !d.files.Stop(supervise.StopPatience) {
		d.files.Abandon()
	}
}

// handed is the filesystem when it is handed over: the successor has a closer of
// its own.
type handed struct {
	*fs.FS
	closer *supervise.Closer
	alone  bool
}

// Stop implements supervise.Session.
func (h *handed) Stop(patience time.Duration) bool {
	h.alone = h.closer.Stop()
	return h.FS.Stop(patience)
}

// Restart implements supervise.Session.
func (h *handed) Restart() {
	if h.alone {
		h.closer.Start()
	}
	h.FS.Restart()
}

// end unmounts after a signal. Files that are still open do not keep the
// process: with it ends the connection, and their readers get an error.
func (d *daemon) end() error {
	d.files.Dismiss() // who waits for a plaintext gets an error now, so that nothing else has to wait for that
	if d.files.Quiesce(d.quiescence()) {
		defer d.closer.Stop()
	}
	err := d.files.Unmount(false)
	if errors.Is(err, errors.ErrUnsupported) {
		d.log.Warn("ended; who mounted it must unmount it", "mountpoint", d.Point)
		return nil
	}
	if errors.Is(err, syscall.EBUSY) {
		d.log.Warn("unmounted while files are open; their readers get an error now", "mountpoint", d.Point)
		return d.files.Unmount(true)
	}
	if err != nil && !errors.Is(err, syscall.EINVAL) { // EINVAL: somebody else was faster
		return err
	}
	select {
	case <-d.ended:
	case <-time.After(time.Second):
		d.log.Warn("still mounted elsewhere (a bind mount, another mount namespace); readers there get an error now", "mountpoint", d.Point)
	}
	return nil
}

// quiescence is how long the kernel may take for what it is being told: as long
// as a read, for which it waits, but within the time that a unit has to stop.
func (d *daemon) quiescence() time.Duration { return min(d.Timeout+2*time.Second, 15*time.Second) }
