// Package invalidate takes back what the kernel believes: pages whose plaintext
// has died, and names of directories that have changed.
//
// It knows node ids, keys of the cache and paths in the source, and neither what
// a node is nor who reads it. fs/README.md says what a notification may wait for.
package invalidate

import (
	"sync"
	"syscall"
	"time"
)

// Notifier tells the kernel something that it has not asked.
type Notifier interface {
	// EntryNotify makes it ask again for a name in a directory.
	EntryNotify(parent uint64, name string) error
	// InodeNotify drops an inode's attributes and length bytes of its pages
	// from off on, 0 being all; nothing of the pages when off is negative.
	InodeNotify(ino uint64, off, length int64) error
}

// Notifications is the one way to tell the kernel something unasked, and the one
// place that knows whether somebody is doing so.
//
// A notification may wait in the kernel, uninterruptibly, for a READ, LOOKUP or
// listing of the same inode or directory, and exec and exit wait for the thread
// that does. So whoever is about to stop answering for good calls Quiesce first,
// while readers still answer.
//
// INVARIANT: no notification begins while closed is set.
type Notifications struct {
	to Notifier // from Start on

	mu       sync.Mutex // guards everything below; not held while notifying
	closed   bool
	inFlight int
	none     chan struct{} // closed when inFlight falls to 0; nil: nobody waits for that
}

// later is the answer while nothing may be notified: the notification was not
// sent.
const later = syscall.EAGAIN

// Start begins to notify.
func (n *Notifications) Start(to Notifier) { n.to = to }

// EntryNotify implements Notifier.
func (n *Notifications) EntryNotify(parent uint64, name string) error {
	return n.send(func() error { return n.to.EntryNotify(parent, name) })
}

// InodeNotify implements Notifier.
func (n *Notifications) InodeNotify(ino uint64, off, length int64) error {
	return n.send(func() error { return n.to.InodeNotify(ino, off, length) })
}

func (n *Notifications) send(notify func() error) error {
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

// Quiesce waits for a moment in which nothing is being notified, and lets nothing
// begin from then on. For the first half of its patience others may go on to
// notify: pages whose plaintext has died should not stay longer than need be. It
// returns false when there was no such moment; then nothing has changed.
func (n *Notifications) Quiesce(patience time.Duration) bool {
	if n.idle(patience/2, false) {
		return true
	}
	if n.idle(patience/2, true) {
		return true
	}
	n.Open()
	return false
}

// idle closes when nothing is in flight, or at once, and waits for that.
func (n *Notifications) idle(patience time.Duration, atOnce bool) bool {
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

// Open takes back a Quiesce.
func (n *Notifications) Open() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = false
}

// atOnce is how many notifications wait for the kernel at a time.
const atOnce = 8

// ForEach does something for each of all that may wait for the kernel, several at
// a time.
func ForEach[T any](all []T, do func(T)) {
	next := make(chan T, len(all))
	for _, one := range all {
		next <- one
	}
	close(next)
	var done sync.WaitGroup
	for range min(atOnce, len(all)) {
		done.Go(func() {
			for one := range next {
				do(one)
			}
		})
	}
	done.Wait()
}
