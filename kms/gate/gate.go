package gate

import (
	"context"
	"errors"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

// Config says what one mount may ask of the service.
type Config struct {
	QPS      int           // calls per second; 0: no limit
	Burst    int           // calls at once after a silence; 0: as many as QPS
	InFlight int           // concurrent calls; 0: 32
	Attempt  time.Duration // bound of one attempt; 0: 3 s
	Waiting  int           // loads of one uid that may wait; 0: 20,000
	Load     time.Duration // bound of one load, retries included; 0: 10 s
}

func (c Config) inFlight() int          { return given(c.InFlight, 32) }
func (c Config) attempt() time.Duration { return given(c.Attempt, 3*time.Second) }
func (c Config) waiting() int           { return given(c.Waiting, 20_000) }
func (c Config) load() time.Duration    { return given(c.Load, 10*time.Second) }

// given is v, or what stands for 0.
func given[T int | time.Duration](v, standard T) T {
	if v <= 0 {
		return standard
	}
	return v
}

// Gate is a kms.Decrypter that stands before another one and spends its calls.
//
//   - Every attempt waits for a token of the mount's rate and for a slot. The
//     uids of kms.WithCaller take turns; none holds all slots.
//   - What failed transiently is tried again, after a random pause and at the
//     back of its uid's line, until the caller's deadline.
//   - Throttling slows the mount down for some seconds.
//   - A ciphertext that the service keeps failing on is left alone for a
//     second after its last attempt.
//   - While the service cannot be reached, calls fail at once.
//
// Its own failures are of class kms.ErrTransient. One that is due to the end of
// ctx matches context.Canceled or context.DeadlineExceeded as well; the latter
// may come a little before the deadline, when no attempt would fit any more.
//
// A Gate starts no goroutine, and has a timer only while somebody waits.
type Gate struct {
	next    kms.Decrypter
	attempt time.Duration
	seed    maphash.Seed

	queue    *queue
	breaker  breaker
	cooldown cooldown

	calls, retries, throttled, lost, crowded atomic.Uint64
	encrypted                                atomic.Uint64
}

// New makes a Gate before d.
func New(d kms.Decrypter, cfg Config) *Gate {
	return &Gate{next: d, attempt: cfg.attempt(), seed: maphash.MakeSeed(), queue: newQueue(cfg), breaker: newBreaker(cfg.load())}
}

// Decrypt implements kms.Decrypter.
func (g *Gate) Decrypt(ctx context.Context, blob kms.Blob, ec kms.EncryptionContext) (*kms.Decrypted, error) {
	c := content(maphash.String(g.seed, blob.Text))
	return pass(ctx, g, "Decrypt", c, func(ctx context.Context) (*kms.Decrypted, error) {
		asked := time.Now()
		d, err := g.next.Decrypt(ctx, blob, ec)
		if err == nil {
			d.Asked = asked
		}
		return d, err
	})
}

// Encrypter is one whose calls pass the same gate, beside those of Decrypt.
func (g *Gate) Encrypter(next kms.Encrypter) kms.Encrypter { return encrypting{g, next} }

type encrypting struct {
	*Gate
	next kms.Encrypter
}

// Encrypt implements kms.Encrypter. No two plaintexts are one content: nothing of
// a plaintext is remembered.
func (e encrypting) Encrypt(ctx context.Context, keyID string, plaintext []byte, ec kms.EncryptionContext) (*kms.Encrypted, error) {
	return pass(ctx, e.Gate, "Encrypt", content(e.encrypted.Add(1)), func(ctx context.Context) (*kms.Encrypted, error) {
		return e.next.Encrypt(ctx, keyID, plaintext, ec)
	})
}

// Token waits for one more token of the rate, for a request that is sent
// within a call, or beside all calls. It ends with ctx.
func (g *Gate) Token(ctx context.Context) error {
	wait, undo := g.queue.reserve()
	if wait > 0 {
		if deadline, bounded := ctx.Deadline(); bounded && time.Until(deadline) < wait {
			undo()
			return &kms.Error{
				Class: kms.ErrTransient, Action: "wait", Detail: "no turn within the time that is left", Cause: context.DeadlineExceeded,
			}
		}
		if err := sleep(ctx, wait); err != nil {
			undo()
			return err
		}
	}
	g.calls.Add(1)
	return nil
}

// pass makes a call through the gate.
func pass[T any](ctx context.Context, g *Gate, action string, c content, do func(context.Context) (T, error)) (none T, err error) {
	if err := g.cooldown.recall(c, time.Now()); err != nil {
		return none, err
	}
	callers := kms.CallersOf(ctx)
	r := retry{action: action, begun: time.Now(), unreached: true}
	for {
		p, err := g.enter(ctx, action, callers)
		switch {
		case err != nil && err == ctx.Err():
			return none, g.ended(&r, err)
		case err != nil:
			return none, err
		}
		answer, v, err := call(ctx, p, c, do)
		if err == nil {
			return answer, nil
		}
		r.attempts++
		r.last = err
		r.unreached = r.unreached && unreached(err)
		switch ended := ctx.Err(); {
		case ended != nil && (errors.Is(err, kms.ErrTransient) || errors.Is(err, ended)):
			return none, g.ended(&r, ended)
		case !errors.Is(err, kms.ErrTransient):
			return none, err
		}
		wait, again := r.pause(ctx, v)
		if !again {
			return none, g.giveUp(&r, c, v)
		}
		if err := sleep(ctx, wait); err != nil {
			return none, g.ended(&r, err)
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
	return g.ended(r, context.DeadlineExceeded)
}

// ended is the error of a load that ran out of time or was called off. One
// that never found a connection in all its time tells the breaker.
func (g *Gate) ended(r *retry, cause error) error {
	err := r.ended(cause)
	if r.attempts > 0 && r.unreached && errors.Is(cause, context.DeadlineExceeded) {
		if opened := g.breaker.unreached(r.action, r.begun, err.(*kms.Error).Detail, time.Now()); opened != nil {
			g.queue.refuse(opened)
		}
	}
	return err
}

// permit is the leave to make one attempt.
type permit struct {
	gate   *Gate
	ticket ticket
	slot   *line
}

// enter waits for a permit. Whoever gets one makes an attempt.
func (g *Gate) enter(ctx context.Context, action string, callers *kms.Callers) (p permit, err error) {
	if err := ctx.Err(); err != nil {
		return permit{}, err
	}
	t, err := g.breaker.admit(action, time.Now())
	if err != nil {
		return permit{}, err
	}
	slot, err := g.queue.acquire(ctx, callers)
	if err == nil {
		if err = g.breaker.begin(&t, time.Now()); err == nil {
			return permit{g, t, slot}, nil
		}
		g.queue.giveBack(slot)
	}
	_ = g.breaker.report(t, 0, verdict{}, time.Now()) // opens nothing
	if err == errCrowded {
		g.crowded.Add(1)
		err = &kms.Error{Class: kms.ErrTransient, Action: action, Detail: errCrowded.Error()}
	}
	return permit{}, err
}

// call makes one attempt and draws the conclusions from it.
func call[T any](ctx context.Context, p permit, c content, do func(context.Context) (T, error)) (answer T, v verdict, err error) {
	g := p.gate
	g.calls.Add(1)
	defer func() { // also when what is called panics
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
	answer, err = do(bounded)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil && errors.Is(err, bounded.Err()) {
		// Not the caller's deadline, so it must not look like that.
		err = &kms.Error{
			Class: kms.ErrTransient, Action: p.ticket.action, Detail: "timed out after " + g.attempt.String(), Unreached: unreached(err),
		}
	}
	v = judge(ctx, err, time.Since(p.ticket.begun))
	return answer, v, err
}

func unreached(err error) bool {
	e, ok := errors.AsType[*kms.Error](err)
	return ok && e.Unreached
}
