package cache

import "time"

// Trouble is what the failure of a load means for the plaintext of its key
// that is there already.
type Trouble uint8

const (
	// Failed means nothing: what is fresh lives on, what is stale is not
	// served.
	Failed Trouble = iota
	// Unavailable means that the question found no answer: what is fresh
	// lives on, what is stale is served.
	Unavailable
	// Refused means that nobody shall have it any more: it is purged.
	Refused
)

// maxFailures bounds the memory of failures, which anybody can fill.
const maxFailures = 4096

// failure is the answer for a key whose load failed, for a while.
type failure struct {
	err   error
	cause Trouble
	at    Instant
	ttl   time.Duration
}

// fail ends e's load with err for everybody who waits.
func (c *Cache) fail(e *entry, err error) {
	var ttl time.Duration
	if c.remember != nil {
		ttl = c.remember(err)
	}
	cause := Failed
	if c.judge != nil {
		cause = c.judge(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.state == dead {
		return // abandoned: nobody waits for this error
	}
	c.stats.LoadErrors++
	now := c.advance()
	if ttl > 0 {
		c.failed.Add(e.key, failure{err: err, cause: cause, at: now, ttl: ttl})
	}
	e.cause = cause
	c.abandon(e, err)
	if kept, ok := c.kept.Peek(e.key); ok {
		c.onReloadFailed(kept, cause, err, now)
	}
}

// onReloadFailed is what the failure of a load does to the entry that it was to
// replace.
func (c *Cache) onReloadFailed(e *entry, cause Trouble, err error, now Instant) {
	switch cause {
	case Refused:
		c.stats.Purged++
		c.kept.Remove(e.key)
		return
	case Unavailable:
		e.unavailableAt, e.lastErr = now, err
	case Failed:
		e.unavailableAt, e.lastErr = Instant{}, nil
	}
	if e.state == ageing {
		c.postpone(e, now)
	}
}

// abandon ends a load for those who wait for it. Its goroutine may still run;
// whatever that brings is wiped.
func (c *Cache) abandon(e *entry, err error) {
	e.state, e.err = dead, err
	e.cancel()
	delete(c.loading, e.key)
	e.loader = nil
	close(e.done)
}

// remembered is the failure that still answers for k: with its error, or with
// what is stale where that may be served instead.
func (c *Cache) remembered(k Key, now Instant) (err error, stale bool) {
	f, ok := c.failed.Get(k)
	if !ok {
		return nil, false
	}
	if now.since(f.at) >= f.ttl {
		c.failed.Remove(k)
		return nil, false
	}
	c.stats.Remembered++
	return f.err, f.cause == Unavailable
}
