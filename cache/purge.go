package cache

// maxPurges bounds how many purged groups are known by name.
const maxPurges = 1024

// purges knows which groups were purged while a load ran: what that load
// brings may be older than the refusal. Which group a load belongs to is not
// known before it ends.
type purges struct {
	seq    uint64            // counts PurgeGroup
	groups map[string]uint64 // the last purge of each
	floor  uint64            // every group counts as purged at this one
}

func (p *purges) add(group string) {
	p.seq++
	if len(p.groups) >= maxPurges {
		p.floor = p.seq // rather too much than too little
		clear(p.groups)
	}
	if p.groups == nil {
		p.groups = make(map[string]uint64)
	}
	p.groups[group] = p.seq
}

// since says whether group was purged after seq.
func (p *purges) since(group string, seq uint64) bool {
	return p.floor > seq || p.groups[group] > seq
}

// forget is for when no load runs.
func (p *purges) forget() { clear(p.groups) }

// Purge kills the entry of k, the load of k, and the memory of its failure.
// Callers that wait for that load ask again.
func (c *Cache) Purge(k Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed.Remove(k)
	if e, ok := c.loading[k]; ok {
		c.abandon(e, errPurged)
	}
	if c.kept.Remove(k) {
		c.stats.Purged++
	}
}

// Refuse kills the entry of k as Purge does, but leaves the load of k alone: it
// is for the Loader that was refused, and is about to say so.
func (c *Cache) Refuse(k Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept.Remove(k) {
		c.stats.Purged++
	}
}

// PurgeGroup kills every entry that carries g. A load in flight that brings
// one with g is not kept, and callers that wait for it ask again. Remembered failures
// belong to no group and stay.
func (c *Cache) PurgeGroup(g string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.loading) > 0 {
		c.purges.add(g)
	}
	for e := range c.groups[g] {
		c.kept.Remove(e.key)
		c.stats.Purged++
	}
}

// Expire kills at once what is past its time. That happens by itself, but on a
// timer that stands still while the machine sleeps. A caller that knows that it
// slept, or that its clock was set, calls this.
func (c *Cache) Expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance()
}

// PurgeAll kills everything, as Purge does.
func (c *Cache) PurgeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed.Purge()
	for _, e := range c.loading {
		c.abandon(e, errPurged)
	}
	c.stats.Purged += uint64(c.kept.Len())
	c.kept.Purge()
}
