package fs

import (
	"context"
	"time"
)

// interruptible is the context of one request: it ends when the kernel says
// that the caller gave up (a signal, Ctrl-C). Deadlines are set by whoever
// loads.
type interruptible struct{ cancel <-chan struct{} }

var _ context.Context = interruptible{}

func (interruptible) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c interruptible) Done() <-chan struct{}     { return c.cancel }
func (interruptible) Value(any) any               { return nil }

func (c interruptible) Err() error {
	select {
	case <-c.cancel:
		return context.Canceled
	default:
		return nil
	}
}
