// Package cache keeps plaintext for a limited time, in locked memory, and
// wipes it. One load answers everybody who asks for the same key meanwhile.
//
// What it promises:
//
//   - The TTL is a hard bound, counted from the moment before the load began.
//     Neither use, nor a lease, nor a suspended machine, nor a clock set back
//     stretches it.
//   - A purge takes effect before it returns, also for a load in flight.
//   - The bytes are wiped at expiry, eviction or purge, or at the last Release
//     if somebody is reading them.
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
	// Since, taken from another Lease, says that this plaintext was made
	// from that one and must not outlive it. Zero: the start of this load.
	Since Instant
}

// Loader fetches one plaintext. It must return soon after ctx ends. After a
// purge, or for a caller who came late to a slow load, it is called again, and
// then the first call may still be on its way out.
type Loader func(ctx context.Context) (Loaded, error)

// Config has no zero value that means anything except for Remember.
type Config struct {
	// TTL is how long after the start of its load a plaintext may be served.
	TTL time.Duration
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
	// Joined is told, before anybody waits, that the caller of one context
	// now waits for the load that runs under another. nil: nobody is.
	Joined func(load, caller context.Context)
}

// Cache is safe for use by many goroutines.
//
// LOCK ORDER: Cache.mu, then the arena's own lock. Nothing of the caller's (a
// Loader, Remember, Joined) runs under Cache.mu, and nobody waits under it.
//
// INVARIANT: kept holds exactly the fresh entries, loading the loading ones;
// due and groups hold what kept holds. An entry leaves kept through bury only.
// INVARIANT: used is the sum of the cells of all entries that have memory,
// dead ones included, and of those being filled; used ≤ max.
// INVARIANT: a key is in loading at most once: that is the single flight.
type Cache struct {
	ttl         time.Duration
	max         int
	loadTimeout time.Duration
	memory      *secmem.Arena
	remember    func(error) time.Duration
	joined      func(load, caller context.Context)
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
	case cfg.MaxBytes <= 0:
		return nil, fmt.Errorf("cache: a size of %d bytes", cfg.MaxBytes)
	case cfg.LoadTimeout <= 0:
		return nil, fmt.Errorf("cache: a load timeout of %v", cfg.LoadTimeout)
	case cfg.Memory == nil:
		return nil, errors.New("cache: no memory")
	}
	c := &Cache{
		ttl:         cfg.TTL,
		max:         min(cfg.MaxBytes, cfg.Memory.Max()),
		loadTimeout: cfg.LoadTimeout,
		memory:      cfg.Memory,
		remember:    cfg.Remember,
		joined:      cfg.Joined,
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

// maxAttempts bounds how often one Get asks again, because of a purge or
// because it came late to a slow load.
const maxAttempts = 3

// Get returns a lease on the plaintext of k, and calls load if nothing fresh
// is there and nobody else is loading it. The load does not end with ctx, only
// the waiting does: its result is kept for the next caller.
//
// A failed load is the same error for everybody who waited. A caller is never
// served by a load that began a TTL or longer before its call: it waits for
// that load to end and then asks again. A load that itself takes longer than
// the TTL serves those who waited for it and is not kept.
func (c *Cache) Get(ctx context.Context, k Key, load Loader) (*Lease, error) {
	var asked Instant
	for attempt := range maxAttempts {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		now := c.look()
		if attempt == 0 {
			asked = now
		}
		if e := c.fresh(k, now); e != nil {
			e.leases++
			if attempt == 0 {
				c.stats.Hits++
			}
			c.mu.Unlock()
			return &Lease{c: c, e: e, hit: attempt == 0}, nil
		}
		e, joined, err := c.join(ctx, k, load, now, asked)
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if joined && c.joined != nil {
			c.joined(e.ctx, ctx)
		}
		lease, err := c.wait(ctx, e, joined)
		if lease != nil || err != nil {
			return lease, err
		}
	}
	return nil, ErrPurged
}

// fresh is the entry that may be served for k, or nil.
func (c *Cache) fresh(k Key, now Instant) *entry {
	e, ok := c.kept.Get(k)
	if !ok {
		return nil
	}
	if now.since(e.born) >= c.ttl { // look allows maxSkew
		c.stats.Expired++
		c.kept.Remove(k)
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
