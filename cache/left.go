package cache

import "time"

// Left is how long the plaintext may still be served; for copies that somebody
// else keeps of it.
func (l *Lease) Left() time.Duration {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return max(0, l.c.ttl-l.c.clock.now().since(l.e.born))
}
