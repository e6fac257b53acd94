package cache

import (
	"context"
	"time"
)

// state is where an entry is in its life:
//
//	loading → fresh → ageing → stale → dead
//
// From each state it can die at once: the load failed, or it was purged,
// evicted, or replaced by a reload. Ageing, still served like a fresh one, is
// left out where nothing is reloaded ahead, and entered again after a reload
// that failed. Stale, served only when a load finds no answer, is left out
// where Config.Stale is 0.
type state uint8

const (
	loading state = iota
	fresh
	ageing
	stale
	dead
)

// entry is one load and the plaintext it brought. A reload makes a new one.
//
// INVARIANT: bytes does not change from the moment done is closed until
// leases is 0, and is wiped once the entry is dead and leases is 0.
type entry struct {
	key      Key
	loadedAt Instant // from when its time counts: before the load began, then Loaded.Asked, or Loaded.Since if that is earlier
	// began is when its load did.
	began  time.Time
	loader Loader // of the load, until it has ended

	// Guarded by Cache.mu; err and bytes may be read without it by those
	// who hold a lease, once done is closed.
	state  state
	leases int // readers, and callers who wait for the load
	bytes  []byte
	cell   int // what it takes of Cache.used
	group  string
	origin string
	err    error   // of the load; errPurged: ask again
	cause  Trouble // of err

	refreshAfter  time.Duration // after which it is ageing
	loaded        int64         // the boot clock at the end of its load
	reloader      *reload       // how its last user would load it; nil: not used since its load
	unavailableAt Instant       // when a load of the same key was last Unavailable
	lastErr       error         // that load's error

	done   chan struct{}      // closed when the load has ended or was abandoned
	cancel context.CancelFunc // of the load

	due       int64 // for expiry: the boot clock at which its state ends
	heapIndex int   // for expiry: the index in the heap
}

// bury is what happens to every entry that leaves kept, as simplelru's
// callback: no way out of the cache misses the wiping.
func (c *Cache) bury(e *entry) {
	if e.state == stale {
		c.stats.Stale--
	}
	e.state, e.reloader = dead, nil
	c.expiry.remove(e)
	if g := c.groups[e.group]; len(g) > 1 {
		delete(g, e)
	} else {
		delete(c.groups, e.group)
	}
	c.reap(e)
}

// reap wipes a dead entry that nobody reads.
func (c *Cache) reap(e *entry) {
	if e.state != dead || e.leases > 0 || e.cell == 0 {
		return
	}
	c.wipe(e.bytes, e.cell)
	e.bytes, e.cell = nil, 0
}

// wipe gives memory from allot back, which overwrites it with zeros.
func (c *Cache) wipe(bytes []byte, cell int) {
	c.memory.Free(bytes)
	c.used -= cell
	c.stats.Wiped++
}

// keep puts a loaded entry among the fresh ones, in the place of the one
// before it.
func (c *Cache) keep(e *entry, now Instant) {
	e.state, e.loaded = fresh, now.boot
	e.refreshAfter = c.ttl
	if c.refresh > 0 {
		e.refreshAfter += c.spread(1+c.refresh/4) - c.refresh
	}
	g := c.groups[e.group]
	if g == nil {
		g = make(map[*entry]struct{})
		c.groups[e.group] = g
	}
	g[e] = struct{}{}
	// simplelru overwrites in silence, without the callback.
	c.kept.Remove(e.key)
	c.kept.Add(e.key, e)
	c.expiry.add(c, e, now)
}

// evict makes room for need bytes at the cost of the entries used longest ago.
// One that is being read gives no room and so is spared: it is in use.
func (c *Cache) evict(need int) bool {
	for c.used > c.max-need {
		if !c.evictAny() {
			return false
		}
	}
	return true
}

// evictAny evicts one entry; false: all are being read.
func (c *Cache) evictAny() bool {
	for range c.kept.Len() {
		k, e, _ := c.kept.GetOldest()
		if e.leases == 0 {
			c.stats.Evictions++
			c.kept.Remove(k)
			return true
		}
		c.kept.Get(k) // the newest now
	}
	return false
}
