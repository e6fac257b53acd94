package cache

import "time"

// Bound is how long at most, from now on, a Get of k may be answered with what
// is kept or being loaded of it, or would be if its load began now. It is for
// copies that somebody else makes of the answers.
func (c *Cache) Bound(k Key) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, left := c.clock.now(), c.ttl
	if e, ok := c.kept.Peek(k); ok {
		left = min(left, c.ttl-now.since(e.loadedAt))
	}
	if e, ok := c.loading[k]; ok {
		left = min(left, c.ttl-now.since(e.loadedAt))
	}
	return max(0, left)
}
