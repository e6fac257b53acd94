package fs

import (
	"context"
	"time"
)

// interruptible is the context of one request: it ends when the kernel says
// that the caller gave up (a signal, Ctrl-C). Deadlines are set by whoever
// loads. Whoever asks for Done is about to wait, so that somebody else must
// read meanwhile.
type interruptible struct {
	cancel <-chan struct{}
	loop   *loop
}

func (f *FS) interruptible(cancel <-chan struct{}) interruptible {
	return interruptible{cancel, f.loop}
}

var _ context.Context = interruptible{}

func (interruptible) Deadline() (time.Time, bool) { return time.Time{}, false }
func (interruptible) Value(any) any               { return nil }

func (c interruptible) Done() <-chan struct{} {
	c.loop.cover()
	return c.cancel
}

func (c interruptible) Err() error {
	select {
	case <-c.cancel:
		return context.Canceled
	default:
		return nil
	}
}
