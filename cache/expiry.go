package cache

import (
	"container/heap"
	"time"
)

// maxSkew is by how much the two clocks may drift apart before all times in the
// queue are worked out again. It delays a wiping, never an expiry: Get looks at
// both clocks itself.
const maxSkew = int64(10 * time.Millisecond)

// expiry has what is kept in the order in which it changes its state, and the
// one timer that wakes for the next.
//
// INVARIANT: as of the last advance, the timer is armed for a moment not later
// than the first change (give or take slack), and not at all if there is none.
type expiry struct {
	queue queue
	skew  int64 // for which the times in queue were worked out
	timer *time.Timer
	armed time.Time // monotonic, as the timer is; zero: not armed
}

// slack absorbs what two readings of a clock differ by.
const slack = 100 * time.Microsecond

// advance reads the clocks and gives everything the state that they say: what has
// expired is dead afterwards.
func (c *Cache) advance() Instant {
	now := c.clock.now()
	x := &c.expiry
	if d := now.skew() - x.skew; d > maxSkew || d < -maxSkew {
		x.skew = now.skew()
		for _, e := range x.queue {
			e.due = c.dueAt(e, now)
		}
		heap.Init(&x.queue)
	}
	for len(x.queue) > 0 && x.queue[0].due <= now.boot {
		c.age(x.queue[0], now)
	}
	x.arm(c, now)
	return now
}

// next is the age at which e's state ends.
func (c *Cache) next(e *entry) time.Duration {
	switch e.state {
	case fresh:
		return min(e.refreshAfter, c.ttl)
	case ageing:
		return c.ttl
	}
	return c.ttl + c.stale
}

// age gives e the state that its age demands. Nothing becomes younger when the
// wall clock is set back.
func (c *Cache) age(e *entry, now Instant) {
	age := now.since(e.loadedAt)
	switch {
	case age >= c.ttl+c.stale:
		c.stats.Expired++
		c.kept.Remove(e.key)
		return
	case age >= c.ttl && e.state != stale:
		e.state, e.reloader = stale, nil
		c.stats.Stale++
	case age >= e.refreshAfter && e.state == fresh:
		e.state = ageing
		c.reload(e, now)
	}
	c.expiry.fix(c, e, now)
}

// dueAt is the moment on the boot clock at which either clock ends e's state.
func (c *Cache) dueAt(e *entry, now Instant) int64 {
	return min(e.loadedAt.boot, e.loadedAt.wall-now.skew()) + int64(c.next(e))
}

func (x *expiry) add(c *Cache, e *entry, now Instant) {
	e.due = c.dueAt(e, now)
	heap.Push(&x.queue, e)
	x.arm(c, now)
}

// fix is for when the time at which e's state ends has changed. The caller arms
// the timer.
func (x *expiry) fix(c *Cache, e *entry, now Instant) {
	e.due = c.dueAt(e, now)
	heap.Fix(&x.queue, e.heapIndex)
}

func (x *expiry) remove(e *entry) {
	heap.Remove(&x.queue, e.heapIndex)
	if len(x.queue) == 0 {
		x.stop()
	}
}

// arm sets the timer for the first change, unless it wakes before that anyway.
// The timer stands still in suspend, so its moment is compared, not the change's.
func (x *expiry) arm(c *Cache, now Instant) {
	if len(x.queue) == 0 {
		return
	}
	d := time.Duration(x.queue[0].due - now.boot)
	at := c.clock.monotonic(now).Add(d)
	if !x.armed.IsZero() && x.armed.Sub(at) <= slack {
		return
	}
	x.armed = at
	if x.timer == nil {
		x.timer = time.AfterFunc(d, c.expire)
	} else {
		x.timer.Reset(d)
	}
}

func (x *expiry) stop() {
	if x.timer != nil {
		x.timer.Stop()
	}
	x.armed = time.Time{}
}

// expire is the timer's.
func (c *Cache) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expiry.armed = time.Time{}
	c.advance()
}

// queue is a heap of entries by due.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due < q[j].due }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].heapIndex, q[j].heapIndex = i, j
}

func (q *queue) Push(x any) {
	e := x.(*entry)
	e.heapIndex = len(*q)
	*q = append(*q, e)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return e
}
