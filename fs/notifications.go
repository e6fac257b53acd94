package fs

import (
	"sync"
	"syscall"
	"time"
)

// notifications is the one way to tell the kernel something unasked, and the one
// place that knows whether somebody is doing so.
//
// A notification may wait in the kernel, uninterruptibly, for a READ, LOOKUP or
// listing of the same inode or directory, and exec and exit wait for the thread
// that does. So whoever is about to stop answering for good calls quiesce first,
// while readers still answer.
//
// INVARIANT: no notification begins while closed is set.
type notifications struct {
	to notifier

	mu       sync.Mutex // guards everything below; not held while notifying
	closed   bool
	inFlight int
	none     chan struct{} // closed when inFlight falls to 0; nil: nobody waits for that
}

// later is the answer to who notifies while it is closed: the notification was
// not sent.
const later = syscall.EAGAIN

// EntryNotify implements notifier.
func (n *notifications) EntryNotify(parent uint64, name string) error {
	return n.send(func() error { return n.to.EntryNotify(parent, name) })
}

// InodeNotify implements notifier.
func (n *notifications) InodeNotify(ino uint64, off, length int64) error {
	return n.send(func() error { return n.to.InodeNotify(ino, off, length) })
}

func (n *notifications) send(notify func() error) error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return later
	}
	n.inFlight++
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.inFlight--; n.inFlight == 0 && n.none != nil {
			close(n.none)
			n.none = nil
		}
	}()
	return notify()
}

// quiesce waits for a moment in which nothing is being notified, and lets nothing
// begin from then on. For the first half of its patience others may go on to
// notify: pages whose plaintext has died should not stay longer than need be. It
// returns false when there was no such moment; then nothing has changed.
func (n *notifications) quiesce(patience time.Duration) bool {
	if n.idle(patience/2, false) {
		return true
	}
	if n.idle(patience/2, true) {
		return true
	}
	n.open()
	return false
}

// idle closes when nothing is in flight, or at once, and waits for that.
func (n *notifications) idle(patience time.Duration, atOnce bool) bool {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		n.mu.Lock()
		n.closed = n.closed || atOnce || n.inFlight == 0
		if n.inFlight == 0 {
			n.mu.Unlock()
			return true
		}
		if n.none == nil {
			n.none = make(chan struct{})
		}
		none := n.none
		n.mu.Unlock()
		select {
		case <-none:
		case <-late.C:
			return false
		}
	}
}

// open takes back a quiesce.
func (n *notifications) open() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = false
}
