// Package cache keeps plaintext for a limited time, in locked memory, and
// wipes it. One load answers everybody who asks for the same key meanwhile.
//
// What it promises:
//
//   - The TTL is a hard bound, counted from the moment before the load began, or
//     Loaded.Asked. Neither use, nor a reload, nor a lease, nor a slow load, nor
//     a suspended machine, nor a clock set back stretches it. Past it, for as long as Config.Stale says and
//     no longer, a plaintext is served only while a new load finds no answer.
//   - What is used again and again is reloaded before its TTL ends, and nobody
//     waits for that; what nobody uses is not.
//   - A purge takes effect before it returns, also for a load in flight.
//   - The bytes are wiped at the end of their time, at eviction or
//     purge, or at the last Release if somebody is reading them.
//   - Memory is bounded by what is really taken: dead plaintext that is still
//     being read counts.
//   - No call waits for anything but its own load.
package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/kmsfs/kmsfs/cache/secmem"
)

var (
	// ErrClosed is what Get returns after Close and to those who wait then.
	ErrClosed = errors.New("cache: closed")
	// ErrFull means that the plaintext does not fit, now or ever.
	ErrFull = errors.New("cache: full")
	// ErrLate means that the load took longer than its plaintext may live.
	ErrLate = errors.New("cache: the answer came later than its ttl")
	// ErrPurged means that the key was purged during each of several loads.
	ErrPurged = errors.New("cache: purged while loading")
)

// Key names a plaintext. The caller hashes into it everything that decides the
// plaintext; two things with one key are one thing to the cache.
type Key [sha256.Size]byte

// Loaded is what a Loader found out.
type Loaded struct {
	// Plaintext is the cache's from now on: it is copied into locked
	// memory and wiped, up to its capacity. It may be empty.
	Plaintext []byte
	// Group is opaque; PurgeGroup kills every entry that carries it.
	Group string
	// Origin is opaque; Lease.Origin gives it back.
	Origin string
	// Asked is when the question began whose answer this is, if that was
	// after the start of the load; zero: it was not.
	Asked time.Time
	// Since, taken from another Lease, says that this plaintext was made
	// from that one and must not outlive it. Zero: it was not.
	Since Instant
}

// Loader fetches one plaintext. Load must return soon after ctx ends. After a purge
// it is called again, and then the first call may still be on its way out. A Loader
// whose Get was a hit is kept for the reload, so it must hold neither plaintext nor
// a Lease.
type Loader interface {
	Load(ctx context.Context) (Loaded, error)
}

// Joiner is a Loader that wants to know who waits for its load: Join is told of the
// Loader of another Get, before that one waits. It must not call the cache.
type Joiner interface {
	Join(waiting Loader)
}

// LoaderFunc is a Loader that is a function.
type LoaderFunc func(ctx context.Context) (Loaded, error)

// Load implements Loader.
func (f LoaderFunc) Load(ctx context.Context) (Loaded, error) { return f(ctx) }

// Config has no zero value that means anything except where it says so.
type Config struct {
	// TTL is how long after the start of its load a plaintext may be served.
	TTL time.Duration
	// Refresh is how long before the end of its TTL an entry that was used
	// since its load is loaded anew. Up to a quarter of that is left to
	// chance, so that what was loaded together is not reloaded together.
	// 0: never; else less than TTL.
	Refresh time.Duration
	// Stale is how long after its TTL a plaintext may still be served when
	// a load is Unavailable or takes longer than a second. 0: not at all.
	Stale time.Duration
	// MaxBytes bounds the memory taken, in cells as secmem.CellSize counts
	// them. A smaller arena bounds it further.
	MaxBytes int
	// LoadTimeout is the deadline of one load.
	LoadTimeout time.Duration
	// Memory is where plaintext lives. It belongs to the caller, who closes
	// it after the last Release.
	Memory *secmem.Arena
	// Remember says how long the failure of a load is the answer for its
	// key; 0: not at all. It must not call the cache. nil: nothing is
	// remembered.
	Remember func(error) time.Duration
	// Judge says what the failure of a load means for the plaintext that
	// is there. It must not call the cache. nil: Failed, whatever it is.
	Judge func(error) Trouble
}

// Cache is safe for use by many goroutines.
//
// LOCK ORDER: Cache.mu, then the arena's own lock. Nothing of the caller's (a
// Loader, a Joiner, Remember, Judge) runs under Cache.mu, and nobody waits under it.
//
// INVARIANT: kept holds exactly the fresh, ageing and stale entries, loading the
// loading ones; expiry and groups hold what kept holds. An entry leaves kept
// through bury only.
// INVARIANT: used is the sum of the cells of all entries that have memory,
// dead ones included, and of those being filled; used ≤ max.
// INVARIANT: a key is in loading at most once: that is the single flight, of
// reloads too.
type Cache struct {
	ttl         time.Duration
	refresh     time.Duration
	stale       time.Duration
	max         int
	loadTimeout time.Duration
	memory      *secmem.Arena
	remember    func(error) time.Duration
	judge       func(error) Trouble
	spread      func(time.Duration) time.Duration // a random part of it
	loads       sync.WaitGroup

	mu      sync.Mutex // guards everything below, and all entries
	clock   clock
	kept    *simplelru.LRU[Key, *entry]
	loading map[Key]*entry
	groups  map[string]map[*entry]struct{}
	used    int
	failed  *simplelru.LRU[Key, failure]
	purges  purges
	expiry  expiry
	stats   Stats
	closed  bool
}

// New makes an empty cache. It starts no goroutine.
func New(cfg Config) (*Cache, error) {
	switch {
	case cfg.TTL <= 0:
		return nil, fmt.Errorf("cache: a TTL of %v", cfg.TTL)
	case cfg.Refresh < 0 || cfg.Refresh >= cfg.TTL:
		return nil, fmt.Errorf("cache: a reload %v before the end of a TTL of %v", cfg.Refresh, cfg.TTL)
	case cfg.Stale < 0:
		return nil, fmt.Errorf("cache: stale for %v", cfg.Stale)
	case cfg.MaxBytes <= 0:
		return nil, fmt.Errorf("cache: a size of %d bytes", cfg.MaxBytes)
	case cfg.LoadTimeout <= 0:
		return nil, fmt.Errorf("cache: a load timeout of %v", cfg.LoadTimeout)
	case cfg.Memory == nil:
		return nil, errors.New("cache: no memory")
	}
	c := &Cache{
		ttl:         cfg.TTL,
		refresh:     cfg.Refresh,
		stale:       cfg.Stale,
		max:         min(cfg.MaxBytes, cfg.Memory.Max()),
		loadTimeout: cfg.LoadTimeout,
		memory:      cfg.Memory,
		remember:    cfg.Remember,
		judge:       cfg.Judge,
		spread:      rand.N[time.Duration],
		clock:       newClock(),
		loading:     make(map[Key]*entry),
		groups:      make(map[string]map[*entry]struct{}),
	}
	// simplelru counts entries; the bound here is bytes.
	var err error
	if c.kept, err = simplelru.NewLRU(math.MaxInt, func(_ Key, e *entry) { c.bury(e) }); err != nil {
		return nil, err
	}
	if c.failed, err = simplelru.NewLRU[Key, failure](maxFailures, nil); err != nil {
		return nil, err
	}
	return c, nil
}

// maxAttempts bounds how often one Get asks again because of a purge.
const maxAttempts = 3

// Get returns a lease on the plaintext of k, and calls load if nothing fresh
// is there and nobody else is loading it. The load does not end with ctx, only
// the waiting does: its result is kept for the next caller.
//
// A failed load is the same error for everybody who waited, unless something
// stale may be served instead. One whose answer is older than the TTL when it
// comes has failed, too: nobody is served it, except as what is stale.
func (c *Cache) Get(ctx context.Context, k Key, load Loader) (*Lease, error) {
	for attempt := range maxAttempts {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		now := c.advance()
		kept := c.find(k, now)
		if kept != nil && (kept.state != stale || now.since(kept.unavailableAt) < staleAgain) {
			if attempt == 0 && kept.state != stale {
				c.stats.Hits++
			}
			c.use(ctx, kept, load, now)
			l := c.lease(kept, attempt == 0)
			c.mu.Unlock()
			return l, nil
		}
		failure, unavailable := c.remembered(k, now)
		if failure != nil && unavailable && kept != nil {
			defer c.mu.Unlock()
			return c.lease(kept, false), nil
		}
		if failure != nil {
			c.mu.Unlock()
			return nil, failure
		}
		e, other, err := c.join(ctx, k, load, now)
		patience := forever
		if kept != nil && e != nil {
			patience = max(0, staleAfter-now.since(e.loadedAt))
		}
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if other != nil {
			other.Join(load)
		}
		lease, err := c.wait(ctx, e, patience)
		if lease != nil || err != nil {
			return lease, err
		}
	}
	return nil, ErrPurged
}

// find is what is kept of k, in the state that it has by now, or nil.
func (c *Cache) find(k Key, now Instant) *entry {
	e, ok := c.kept.Get(k)
	if !ok {
		return nil
	}
	if now.since(e.loadedAt) >= c.next(e) { // advance allows maxSkew
		c.age(e, now)
	}
	if e.state == dead {
		return nil
	}
	return e
}

// Close cancels the loads and waits for them, and wipes everything but what is
// leased: that is wiped at its last Release.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	for _, e := range c.loading {
		c.abandon(e, ErrClosed)
	}
	c.kept.Purge()
	c.failed.Purge()
	c.expiry.stop()
	c.mu.Unlock()
	c.loads.Wait()
}
