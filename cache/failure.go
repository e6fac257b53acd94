package cache

import "time"

// maxFailures bounds the memory of failures, which anybody can fill.
const maxFailures = 4096

// failure is the answer for a key whose load failed, for a while.
type failure struct {
	err  error
	born Instant
	ttl  time.Duration
}

// fail ends e's load with err for everybody who waits.
func (c *Cache) fail(e *entry, err error) {
	var ttl time.Duration
	if c.remember != nil {
		ttl = c.remember(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.state == dead {
		return // abandoned: nobody waits for this error
	}
	c.stats.LoadErrors++
	if ttl > 0 {
		c.failed.Add(e.key, failure{err: err, born: c.clock.now(), ttl: ttl})
	}
	c.abandon(e, err)
}

// abandon ends a load for those who wait for it. Its goroutine may still run;
// whatever that brings is wiped.
func (c *Cache) abandon(e *entry, err error) {
	e.state, e.err = dead, err
	e.cancel()
	delete(c.loading, e.key)
	close(e.done)
}

// remembered is the failure that still answers for k.
func (c *Cache) remembered(k Key, now Instant) error {
	f, ok := c.failed.Get(k)
	if !ok {
		return nil
	}
	if now.since(f.born) >= f.ttl {
		c.failed.Remove(k)
		return nil
	}
	c.stats.Remembered++
	return f.err
}
