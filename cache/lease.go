package cache

import "time"

// Lease lets its holder read one plaintext. It is meant to last as long as one
// reply: memory that is leased cannot be wiped or reused.
type Lease struct {
	c     *Cache
	e     *entry // nil after Release
	hit   bool
	stale bool
}

// lease is one more lease on what is kept. It runs under Cache.mu.
func (c *Cache) lease(e *entry, hit bool) *Lease {
	e.leases++
	if e.state == stale {
		c.stats.StaleServed++
	}
	return &Lease{c: c, e: e, hit: hit, stale: e.state == stale}
}

// Bytes is the plaintext, in place. It must not be changed, nor used after
// Release: by then it may be wiped, or another plaintext.
func (l *Lease) Bytes() []byte { return l.e.bytes }

// Origin is what the Loader said it is.
func (l *Lease) Origin() string { return l.e.origin }

// Group is the group that the Loader put it into.
func (l *Lease) Group() string { return l.e.group }

// Since is the moment the TTL counts from.
func (l *Lease) Since() Instant { return l.e.loadedAt }

// Hit says that no load was waited for.
func (l *Lease) Hit() bool { return l.hit }

// Stale says that the TTL had passed, and that no new load found an answer.
func (l *Lease) Stale() bool { return l.stale }

// Trouble is why a stale plaintext was served: the error of the last load; nil
// if that goes on, and only takes long.
func (l *Lease) Trouble() error {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return l.e.lastErr
}

// Left is how long the plaintext may still be served in the way this lease
// serves it, fresh or stale; for copies that somebody else keeps of it. It is
// nothing as soon as it was purged or replaced.
func (l *Lease) Left() time.Duration {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.e.state == dead {
		return 0
	}
	end := l.c.ttl
	if l.stale {
		end += l.c.stale
	}
	return max(0, end-l.c.clock.now().since(l.e.loadedAt))
}

// RefreshIn is how long it takes until a Get of the key begins a reload ahead of
// the TTL. A caller that keeps a copy drops it then: as long as the copy is read,
// the cache sees no reader, and would not reload.
func (l *Lease) RefreshIn() time.Duration {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.e.state == dead {
		return 0
	}
	return max(0, l.e.refreshAfter-l.c.clock.now().since(l.e.loadedAt))
}

// Release ends the lease. A second call panics: the first one may have given
// the memory to somebody else.
func (l *Lease) Release() {
	c := l.c
	c.mu.Lock()
	e := l.e
	if e == nil {
		c.mu.Unlock()
		panic("cache: a lease was released twice")
	}
	l.e = nil
	c.mu.Unlock()
	c.leave(e)
}

// leave ends one lease on e, or one wait for its load.
func (c *Cache) leave(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.leases--
	c.reap(e)
}
