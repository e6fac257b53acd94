package credentials

import (
	"context"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

// work is something that is done once for all who want its result. It goes on
// when those who wait give up: it is nobody's in particular, and the next to
// come will want it.
type work[T any] struct {
	begun  time.Time
	done   chan struct{} // closed when result and err are there
	result T
	err    error
}

// start begins do. landed gets the result before anybody else does.
func start[T any](do func() (T, error), landed func(T, error)) *work[T] {
	w := &work[T]{begun: time.Now(), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		defer func() {
			if recover() != nil {
				// The value may be a secret.
				w.err = fault(kms.ErrTransient, "looking for credentials panicked")
			}
			landed(w.result, w.err)
		}()
		w.result, w.err = do()
	}()
	return w
}

// wait returns when the work is done, when ctx ends, or when the work has taken
// too long, whichever is first.
func (w *work[T]) wait(ctx context.Context) (T, error) {
	late := time.NewTimer(time.Until(w.begun.Add(fetchPatience)))
	defer late.Stop()
	var none T
	select {
	case <-w.done:
		return w.result, w.err
	default:
	}
	select {
	case <-w.done:
		return w.result, w.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-late.C:
		return none, fault(kms.ErrTransient, "no credentials within "+fetchPatience.String())
	}
}
