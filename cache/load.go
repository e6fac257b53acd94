package cache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/kmsfs/kmsfs/cache/secmem"
)

var (
	errNoAnswer = errors.New("cache: the load panicked")
	errPurged   = errors.New("cache: ask again after a purge") // stays inside
)

// join finds or starts the load of k, and gives the caller a lease on it. other is
// somebody else's Loader that runs it, if it wants to know. It runs under Cache.mu.
func (c *Cache) join(ctx context.Context, k Key, load Loader, now Instant) (_ *entry, other Joiner, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	c.stats.Misses++
	e, found := c.loading[k]
	if found {
		other, _ = e.loader.(Joiner)
	} else {
		e = c.start(ctx, k, load, now)
	}
	e.leases++
	return e, other, nil
}

// start begins the load of k. Nobody is loading it.
func (c *Cache) start(ctx context.Context, k Key, load Loader, now Instant) *entry {
	e := &entry{key: k, loadedAt: now, began: c.clock.monotonic(now), done: make(chan struct{}), heapIndex: -1, loader: load}
	ctx, e.cancel = context.WithTimeout(context.WithoutCancel(ctx), c.loadTimeout)
	if len(c.loading) == 0 {
		c.purges.forget()
	}
	c.loading[k] = e
	c.stats.Loads++
	seq := c.purges.seq
	c.loads.Go(func() { c.load(ctx, e, seq, load) })
	return e
}

const forever = time.Duration(math.MaxInt64)

// wait waits for e's load, or for ctx to end. When the load finds no answer, or
// none within patience, what is kept is the answer. Neither lease nor error:
// ask again.
func (c *Cache) wait(ctx context.Context, e *entry, patience time.Duration) (*Lease, error) {
	defer c.leave(e)
	var late <-chan time.Time
	if patience != forever {
		t := time.NewTimer(patience)
		defer t.Stop()
		late = t.C
	}
	for {
		select {
		case <-e.done:
		case <-late:
			if l := c.staleFallback(e.key); l != nil {
				return l, nil
			}
			late = nil
			continue
		case <-ctx.Done():
			select {
			case <-e.done: // both: the answer is here
			default:
				return nil, ctx.Err()
			}
		}
		switch {
		case errors.Is(e.err, errPurged):
			return nil, nil
		case e.err == nil:
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.late(e, c.advance()) { // it was not when the load ended
				return nil, ErrLate
			}
			return c.lease(e, false), nil
		case e.cause == Unavailable:
			if l := c.staleFallback(e.key); l != nil {
				return l, nil
			}
		}
		return nil, e.err
	}
}

// load runs one Loader to its end, whoever is still waiting.
func (c *Cache) load(ctx context.Context, e *entry, seq uint64, load Loader) {
	got, err := Loaded{}, errNoAnswer
	defer func() {
		_ = recover() // not to be shown: it may hold plaintext
		if err == nil {
			err = c.publish(e, got, seq)
		}
		if err != nil {
			wipeAll(got.Plaintext)
			c.fail(e, err)
		}
		e.cancel()
	}()
	got, err = load.Load(ctx)
}

// publish hands out what was loaded: to those who wait, and to later callers
// unless a purge came in between or its time has passed already.
func (c *Cache) publish(e *entry, got Loaded, seq uint64) error {
	if c.tooLate(e, got) {
		return ErrLate // before anybody is evicted for it
	}
	bytes, cell, err := c.allot(e.key, len(got.Plaintext))
	if err != nil {
		return err
	}
	copy(bytes, got.Plaintext)
	wipeAll(got.Plaintext) // before anybody is told

	c.mu.Lock()
	defer c.mu.Unlock()
	if e.state == loading && c.purges.since(got.Group, seq) {
		c.abandon(e, errPurged)
		if kept, ok := c.kept.Peek(e.key); ok { // too much was taken for purged
			c.onReloadFailed(kept, Failed, nil, c.advance())
		}
	}
	if e.state == dead { // those who waited for it have gone
		c.wipe(bytes, cell)
		return nil
	}
	delete(c.loading, e.key)
	e.loader = nil
	e.bytes, e.cell = bytes, cell
	e.group, e.origin = got.Group, got.Origin
	now := c.advance()
	c.keep(e, now)
	if now = c.advance(); e.state == stale { // it came late: another load would, too
		e.unavailableAt, e.lastErr = now, ErrLate
	}
	close(e.done)
	return nil
}

// tooLate dates e from what its load brought, and says whether nobody may be
// served that any more.
func (c *Cache) tooLate(e *entry, got Loaded) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.advance()
	e.loadedAt = c.asked(e, got.Asked, now).earlier(got.Since)
	if !c.late(e, now) {
		return false
	}
	c.stats.Expired++
	return true
}

func (c *Cache) late(e *entry, now Instant) bool { return now.since(e.loadedAt) >= c.ttl+c.stale }

// asked is the moment from which e's time counts. The monotonic clock stands
// still in suspend: when the machine slept during the load, it is the start.
func (c *Cache) asked(e *entry, at time.Time, now Instant) Instant {
	took := c.clock.monotonic(now).Sub(e.began)
	if at.IsZero() || !at.After(e.began) || now.boot-e.loadedAt.boot > int64(took)+maxSkew {
		return e.loadedAt
	}
	return Instant{boot: e.loadedAt.boot + int64(at.Sub(e.began)), wall: c.clock.readWall(at)}
}

func wipeAll(p []byte) { clear(p[:cap(p)]) }

// allot takes memory for n bytes of k, evicting as needed: first what they are
// to replace, so that a reload in a full cache evicts no other entry. The memory is
// the caller's, and counted in used.
func (c *Cache) allot(k Key, n int) (bytes []byte, cell int, err error) {
	cell = secmem.CellSize(max(n, 1)) // an empty plaintext costs a line, too
	c.mu.Lock()
	c.advance() // the dead go first
	if kept, ok := c.kept.Peek(k); ok && kept.leases == 0 && c.used > c.max-cell {
		c.kept.Remove(k)
	}
	room := cell <= c.max && c.evict(cell)
	if room {
		c.used += cell
	}
	c.mu.Unlock()
	if !room {
		return nil, 0, ErrFull
	}
	for {
		// Not under Cache.mu: a new chunk costs system calls.
		if bytes, err = c.memory.Alloc(n); err == nil {
			return bytes, cell, nil
		}
		// The room is in pieces, or the system locks less than promised.
		full := errors.Is(err, secmem.ErrFull)
		c.mu.Lock()
		if full && c.evictAny() {
			c.mu.Unlock()
			continue
		}
		c.used -= cell
		c.mu.Unlock()
		if full {
			err = fmt.Errorf("%w: %w", ErrFull, err)
		}
		return nil, 0, err
	}
}
