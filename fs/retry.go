package fs

import (
	"context"
	"sync"
	"time"
)

// lookups keeps what the last LOOKUPs read, so that an OPEN whose file was
// replaced a moment ago can still serve the very version that its LOOKUP, in the
// same open(2), found current.
type lookups struct {
	mu   sync.Mutex
	next int
	ring [256]lookup
}

type lookup struct {
	id   uint64
	seen time.Time // just before the bytes were read
	content
}

func (l *lookups) keep(found looked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.next] = lookup{found.node.id, found.seen, found.content}
	l.next = (l.next + 1) % len(l.ring)
}

// since returns the content of a node that a LOOKUP read after the instant.
func (l *lookups) since(id uint64, after time.Time) (content, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.ring {
		if k := &l.ring[i]; k.id == id && k.seen.After(after) {
			return k.content, true
		}
	}
	return content{}, false
}

// staleRetry remembers which threads were answered ESTALE at OPEN, and when. The
// kernel then walks the path again, once, within the same open(2); so the
// next OPEN of that thread knows what it may rely on:
//   - the node was looked up after that instant: it was current during this
//     open(2), and its bytes are in lookups;
//   - it was not: no walk can reach a newer node (a bind mount of the single
//     file, /proc/self/fd, O_PATH), and the current bytes are served through
//     the handle.
//
// Callers in a pid namespace that we cannot see have thread id 0 and are
// never remembered.
type staleRetry struct {
	life time.Duration // how long after its ESTALE a thread's next OPEN counts as the retry
	mu   sync.Mutex
	at   map[uint32]time.Time
}

func newStaleRetry(life time.Duration) staleRetry {
	return staleRetry{life: life, at: map[uint32]time.Time{}}
}

// remember is called before ESTALE is answered. It returns false for a thread
// that cannot be told from others: that one must not be.
func (t *staleRetry) remember(tid uint32) bool {
	if tid == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.at) >= 1024 {
		for k, at := range t.at {
			if time.Since(at) > t.life {
				delete(t.at, k)
			}
		}
	}
	t.at[tid] = time.Now()
	return true
}

// take returns the instant of a thread's ESTALE and forgets it.
func (t *staleRetry) take(tid uint32) (at time.Time, retry bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.at[tid]
	delete(t.at, tid)
	return at, ok && time.Since(at) <= t.life
}

// writerGraceFor is how long a request waits for a file that is being
// rewritten in place and is no whole ciphertext yet.
const writerGraceFor = 250 * time.Millisecond

// writerGrace is one request's patience with a writer.
type writerGrace struct {
	ctx   context.Context
	begun time.Time
}

// more waits a little before another look. It reports false when the file has
// been left alone for writerGraceFor, or the request has waited that long, or
// its caller gave up: then what was read counts.
func (g writerGrace) more(ctime int64) bool {
	if time.Since(g.begun) >= writerGraceFor || time.Now().UnixNano()-ctime >= int64(writerGraceFor) {
		return false
	}
	t := time.NewTimer(time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-g.ctx.Done():
		return false
	}
}
