package kms

import (
	"context"
	"errors"
	"hash/maphash"
	"sync/atomic"
	"time"
)

// GateConfig says what one mount may ask of the service.
type GateConfig struct {
	QPS      int           // calls per second; 0: no limit
	Burst    int           // calls at once after a silence; 0: as many as QPS
	InFlight int           // concurrent calls; 0: 32
	Attempt  time.Duration // bound of one attempt; 0: 3 s
	Waiting  int           // loads of one uid that may wait; 0: 20,000
}

func (c GateConfig) inFlight() int {
	if c.InFlight <= 0 {
		return 32
	}
	return c.InFlight
}

func (c GateConfig) attempt() time.Duration {
	if c.Attempt <= 0 {
		return 3 * time.Second
	}
	return c.Attempt
}

func (c GateConfig) waiting() int {
	if c.Waiting <= 0 {
		return 20_000
	}
	return c.Waiting
}

// Gate is a Decrypter that stands before another one and spends its calls.
//
//   - Every attempt waits for a token of the mount's rate and for a slot. The
//     uids of WithCaller take turns; none holds all slots.
//   - What failed transiently is tried again, after a random pause and at the
//     back of its uid's line, until the caller's deadline.
//   - Throttling slows the mount down for some seconds.
//   - A ciphertext that the service keeps failing on is left alone for a
//     second after its last attempt.
//   - While the service cannot be reached, calls fail at once.
//
// Its own failures are of class ErrTransient. One that is due to the end of
// ctx matches context.Canceled or context.DeadlineExceeded as well; the latter
// may come a little before the deadline, when no attempt would fit any more.
//
// A Gate starts no goroutine, and has a timer only while somebody waits.
type Gate struct {
	next    Decrypter
	attempt time.Duration
	seed    maphash.Seed

	queue    *queue
	breaker  breaker
	cooldown cooldown

	calls, retries, throttled, lost, crowded atomic.Uint64
}

// NewGate makes a Gate before d.
func NewGate(d Decrypter, cfg GateConfig) *Gate {
	return &Gate{next: d, attempt: cfg.attempt(), seed: maphash.MakeSeed(), queue: newQueue(cfg)}
}

// Decrypt implements Decrypter.
func (g *Gate) Decrypt(ctx context.Context, blob Blob, ec EncryptionContext) (*Decrypted, error) {
	c := content(maphash.String(g.seed, blob.Text))
	if err := g.cooldown.recall(c, time.Now()); err != nil {
		return nil, err
	}
	party := partyOf(ctx)
	var r retry
	for {
		p, err := g.enter(ctx, party)
		switch {
		case err != nil && err == ctx.Err():
			return nil, r.ended(err)
		case err != nil:
			return nil, err
		}
		d, v, err := p.call(ctx, c, blob, ec)
		if err == nil {
			return d, nil
		}
		r.attempts++
		r.last = err
		switch ended := ctx.Err(); {
		case ended != nil && (errors.Is(err, ErrTransient) || errors.Is(err, ended)):
			return nil, r.ended(ended)
		case !errors.Is(err, ErrTransient):
			return nil, err
		}
		wait, again := r.pause(ctx, v)
		if !again {
			return nil, g.giveUp(&r, c, v)
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, r.ended(err)
		}
		g.retries.Add(1)
	}
}

// giveUp is the error after the last attempt.
func (g *Gate) giveUp(r *retry, c content, v verdict) error {
	if v.answered && !v.throttled {
		g.cooldown.remember(c, r.last, time.Now())
	}
	if r.failed >= retryAttempts {
		return r.last
	}
	return r.ended(context.DeadlineExceeded)
}

// permit is the leave to make one attempt.
type permit struct {
	gate   *Gate
	ticket ticket
	slot   *line
}

// enter waits for a permit. Whoever gets one makes an attempt.
func (g *Gate) enter(ctx context.Context, party *party) (p permit, err error) {
	if err := ctx.Err(); err != nil {
		return permit{}, err
	}
	t, err := g.breaker.admit(time.Now())
	if err != nil {
		return permit{}, err
	}
	slot, err := g.queue.acquire(ctx, party)
	if err == nil {
		if err = g.breaker.begin(&t, time.Now()); err == nil {
			return permit{g, t, slot}, nil
		}
		g.queue.giveBack(slot)
	}
	_ = g.breaker.report(t, 0, verdict{}, time.Now()) // opens nothing
	if err == errCrowded {
		g.crowded.Add(1)
		err = &Error{Class: ErrTransient, Action: "Decrypt", Detail: errCrowded.Error()}
	}
	return permit{}, err
}

// call makes one attempt and draws the conclusions from it.
func (p permit) call(ctx context.Context, c content, blob Blob, ec EncryptionContext) (d *Decrypted, v verdict, err error) {
	g := p.gate
	g.calls.Add(1)
	defer func() { // also when the Decrypter panics
		opened := g.breaker.report(p.ticket, c, v, time.Now())
		if v.throttled {
			g.throttled.Add(1)
			g.queue.throttled()
		}
		if v.lost {
			g.lost.Add(1)
		}
		if opened != nil {
			g.queue.refuse(opened)
		}
		g.queue.release(p.slot)
	}()
	bounded, cancel := context.WithTimeout(ctx, g.attempt)
	defer cancel()
	d, err = g.next.Decrypt(bounded, blob, ec)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil && errors.Is(err, bounded.Err()) {
		// Not the caller's deadline, so it must not look like that.
		err = &Error{Class: ErrTransient, Action: "Decrypt", Detail: "timed out after " + g.attempt.String()}
	}
	v = judge(ctx, err)
	return d, v, err
}
