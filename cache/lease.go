package cache

import "time"

// Lease lets its holder read one plaintext. It is meant to last as long as one
// reply: memory that is leased cannot be wiped or reused.
type Lease struct {
	c   *Cache
	e   *entry // nil after Release
	hit bool
}

// Bytes is the plaintext, in place. It must not be changed, nor used after
// Release: by then it may be wiped, or another plaintext.
func (l *Lease) Bytes() []byte { return l.e.bytes }

// Origin is what the Loader said it is.
func (l *Lease) Origin() string { return l.e.origin }

// Since is the moment the TTL counts from.
func (l *Lease) Since() Instant { return l.e.born }

// Hit says that no load was waited for.
func (l *Lease) Hit() bool { return l.hit }

// Left is how long the plaintext may still be served; for copies that somebody
// else keeps of it.
func (l *Lease) Left() time.Duration {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return max(0, l.c.ttl-l.c.clock.now().since(l.e.born))
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
	e.leases--
	c.reap(e)
	c.mu.Unlock()
}
