package cache

import "time"

const (
	// staleAfter is how long a load may take before what is stale is
	// served. It counts from the start of the load, so that only its first
	// reader waits.
	staleAfter = time.Second
	// staleAgain is how long after a load that was Unavailable what is
	// stale is served without another one.
	staleAgain = time.Second
)

// staleFallback is a lease on what is kept of k, when the load of it found no answer
// in time; nil: nothing is.
func (c *Cache) staleFallback(k Key) *Lease {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.find(k, c.advance())
	if e == nil {
		return nil
	}
	return c.lease(e, false)
}
