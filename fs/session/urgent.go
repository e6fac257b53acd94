package session

import (
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// firstProcess is systemd, where Config.Systemd says so. It reads files itself
	// (EnvironmentFile=, conditions), and while it waits for one, it starts and
	// stops nothing on the machine.
	firstProcess = 1
	// urgentPatience is how long its requests may wait: then they fail, as others do
	// at their deadline.
	urgentPatience = time.Second
)

// hurry bounds a request of the first process. undo is for when it has been
// answered.
func (r *reader) hurry(h *fuse.InHeader) (undo func()) {
	unique := h.Unique
	late := time.AfterFunc(urgentPatience, func() { r.expire(unique) })
	return func() { late.Stop() }
}

// expire ends the wait of a request that has taken too long. Unlike an interrupt,
// that is no matter of a successor's.
func (r *reader) expire(unique uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unique == unique && !r.interrupted {
		r.interrupted = true
		r.late.Store(true)
		close(r.cancel)
	}
}

// lateStatus is the answer of a handler, with the reason why it was called off.
func lateStatus(status fuse.Status, late *atomic.Bool) fuse.Status {
	if status == fuse.EINTR && late.Load() {
		return fuse.Status(unix.ETIMEDOUT)
	}
	return status
}
