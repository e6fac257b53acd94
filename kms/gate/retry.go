package gate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/kmsfs/kmsfs/kms"
)

const (
	// retryBase and retryCap bound the first and the last pause between
	// two attempts. The vendors' own clients begin with 200 ms, too.
	retryBase = 200 * time.Millisecond
	retryCap  = 2 * time.Second
	// retryAttempts is how often one load sends a ciphertext to a service
	// that answers it with errors of its own. Throttled and unanswered
	// attempts do not count: the deadline ends those, if there is one.
	retryAttempts = 5
	// retryLeast is the shortest time that is worth an attempt.
	retryLeast = 500 * time.Millisecond
)

// verdict is what one attempt tells about the service.
//
// INVARIANT: at most one of answered and lost; throttled implies answered.
type verdict struct {
	answered  bool // the service said something
	throttled bool
	lost      bool // nothing came back
	words     string
}

// judge reads a verdict from the error of an attempt that took so long. One that
// the deadline of its load has cut off is silence, too, if there was time for an
// answer; who calls off a load says nothing.
func judge(ctx context.Context, err error, took time.Duration) verdict {
	var e *kms.Error
	heard := ctx.Err() == nil || ctx.Err() == context.DeadlineExceeded && took >= retryLeast
	switch {
	case err == nil:
		return verdict{answered: true}
	case !errors.As(err, &e):
		return verdict{}
	case e.Status != 0:
		return verdict{answered: true, throttled: kms.Throttled(err)}
	case heard && errors.Is(err, kms.ErrTransient):
		return verdict{lost: true, words: e.Detail}
	}
	return verdict{}
}

// retry is the attempts of one load. Pauses are drawn evenly from zero to a
// bound that doubles (full jitter), so that loads which failed together do not
// come back together.
type retry struct {
	action    string
	begun     time.Time
	attempts  int  // that were made
	unreached bool // none of them found a connection
	failed    int  // that count for retryAttempts
	last      error
	pauses    *backoff.ExponentialBackOff
}

// pause says how long to wait before the next attempt; false: there is none.
// It is called after a transient failure.
func (r *retry) pause(ctx context.Context, v verdict) (time.Duration, bool) {
	deadline, bounded := ctx.Deadline()
	if v.answered && !v.throttled || !bounded {
		if r.failed++; r.failed >= retryAttempts {
			return 0, false
		}
	}
	if r.pauses == nil {
		// The library draws from interval ± factor·interval: with a
		// factor of 1 and half the bound that is zero to the bound.
		r.pauses = &backoff.ExponentialBackOff{
			InitialInterval:     retryBase / 2,
			MaxInterval:         retryCap / 2,
			Multiplier:          2,
			RandomizationFactor: 1,
		}
	}
	d := r.pauses.NextBackOff()
	if v.throttled {
		d = retryBase + 2*d
	}
	if !bounded {
		return d, true
	}
	spare := time.Until(deadline) - retryLeast
	return min(d, spare), spare > 0 // a last attempt, as late as it can be
}

// ended is the error of a load whose time is over, or nearly: that of its last
// attempt, and the context's. Both can be asked for.
func (r *retry) ended(cause error) error {
	e := &kms.Error{Class: kms.ErrTransient, Action: r.action, Cause: cause}
	how := "canceled"
	if errors.Is(cause, context.DeadlineExceeded) {
		how = "out of time"
	}
	var last *kms.Error
	switch {
	case r.attempts == 0:
		e.Detail = how + " before its turn came"
	case errors.As(r.last, &last):
		e.Code, e.Status, e.RequestID, e.Hint = last.Code, last.Status, last.RequestID, last.Hint
		e.Detail = fmt.Sprintf("%s after %d attempts", how, r.attempts)
		if last.Detail != "" {
			e.Detail += ", the last: " + last.Detail
		}
	default:
		e.Detail = fmt.Sprintf("%s after %d attempts", how, r.attempts)
	}
	return e
}

// sleep waits, or ends with ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
