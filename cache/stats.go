package cache

// Stats are the cache's plain numbers: the first five of this moment, the
// others since New.
type Stats struct {
	Entries int // kept: fresh, ageing and stale ones
	Stale   int // of these
	Loading int
	Bytes   int // of locked memory taken, dead plaintext under lease included
	Max     int // the bound of Bytes

	Hits        uint64 // Gets answered without waiting
	Misses      uint64 // Gets that waited for a load
	Remembered  uint64 // Gets answered with a remembered failure
	StaleServed uint64 // Gets answered with a stale plaintext
	Loads       uint64 // started, for Gets and ahead of expiry
	Refreshes   uint64 // those ahead of expiry
	LoadErrors  uint64
	Evictions   uint64 // for room
	Expired     uint64
	Purged      uint64
	Wiped       uint64 // plaintexts overwritten with zeros
}

// Stats returns the numbers of this moment.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Entries, s.Loading, s.Bytes, s.Max = c.kept.Len(), len(c.loading), c.used, c.max
	return s
}
