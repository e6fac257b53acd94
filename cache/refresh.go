package cache

import (
	"context"
	"time"
)

// A plaintext that somebody reads all the time is loaded anew before its TTL
// ends, so that its readers never wait. The queue of expiry wakes for it: a hit
// late in the TTL cannot be relied on, not even for a file that is read twice
// per TTL.

// reload is what it takes to load an entry anew for somebody who used it.
type reload struct {
	ctx  context.Context // for its values
	load Loader
}

// sameReader is how long after its load an entry's hits are taken for those of
// the reader it was loaded for, which may never come back: a file that is opened
// and read once is not worth a second call. A short TTL makes it shorter.
const sameReader = time.Second

// use notes that e was hit, and begins the reload that an ageing one waited
// with until somebody would use it.
func (c *Cache) use(ctx context.Context, e *entry, load Loader, now Instant) {
	if c.refresh == 0 || e.reloader != nil || e.state == stale || now.boot-e.loaded < int64(min(sameReader, c.ttl/10)) {
		return
	}
	e.reloader = &reload{context.WithoutCancel(ctx), load}
	if e.state == ageing {
		c.reload(e, now)
	}
}

// reload begins to load anew what was used since its load. The entry is served
// meanwhile, and not for longer than if there were no reload.
func (c *Cache) reload(e *entry, now Instant) {
	if e.reloader == nil || c.closed || c.loading[e.key] != nil {
		return
	}
	c.stats.Refreshes++
	c.start(e.reloader.ctx, e.key, e.reloader.load, now)
}

// postpone makes an ageing entry fresh again after a reload that failed: the
// next one has half of the time that is left, until too little is.
func (c *Cache) postpone(e *entry, now Instant) {
	age := now.since(e.loadedAt)
	e.state, e.refreshAfter = fresh, c.ttl
	if left := c.ttl - age; left > c.refresh/8 {
		e.refreshAfter = age + left/2
	}
	c.expiry.fix(c, e, now)
	c.expiry.arm(c, now)
}
