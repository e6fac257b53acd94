package session

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Request is one message of the kernel while it is answered. The zero Request
// is asked by nobody: it does not end, and nobody reads meanwhile.
type Request struct {
	*fuse.InHeader // who asks, and about which node

	// Lent is what the answer to a READ lies in. It is released once that has
	// been written.
	Lent interface{ Release() }

	// Interrupted is closed when the kernel says that the caller gave up (a
	// signal, Ctrl-C). Whoever waits for it asks Context.
	Interrupted <-chan struct{}

	session *Session
	late    *atomic.Bool // nil: never
}

// WillBlock is called before a handler waits for anything: from then on
// somebody else reads.
func (r *Request) WillBlock() { r.session.willBlock() }

// GaveUp tells whether the kernel has said that the caller gave up.
func (r *Request) GaveUp() bool { return r.Context().Err() != nil }

// Context ends when the caller gave up, or must not wait any longer. It may be used
// after the request. Other deadlines are set by whoever loads.
func (r *Request) Context() context.Context { return interruptible{r.Interrupted, r.session, r.late} }

// interruptible is the context of one request. Whoever asks for Done is about to
// wait, so that somebody else must read meanwhile.
type interruptible struct {
	cancel  <-chan struct{}
	session *Session
	late    *atomic.Bool
}

func (interruptible) Deadline() (time.Time, bool) { return time.Time{}, false }
func (interruptible) Value(any) any               { return nil }

func (c interruptible) Done() <-chan struct{} {
	c.session.willBlock()
	return c.cancel
}

func (c interruptible) Err() error {
	select {
	case <-c.cancel:
		if c.late != nil && c.late.Load() {
			return context.DeadlineExceeded
		}
		return context.Canceled
	default:
		return nil
	}
}
