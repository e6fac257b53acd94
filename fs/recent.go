package fs

import (
	"sync"
	"time"
)

// now is a monotonic instant; tests with a fake clock see it too.
func now() time.Time { return time.Now() }

// recent keeps what the last LOOKUPs read, so that an OPEN whose file was
// replaced a moment ago can still serve the very version that its LOOKUP, in
// the same open(2), found current.
type recent struct {
	mu   sync.Mutex
	next int
	ring [256]kept
}

type kept struct {
	id   uint64
	seen time.Time // just before the bytes were read
	content
}

func (r *recent) keep(id uint64, seen time.Time, c content) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.next] = kept{id, seen, c}
	r.next = (r.next + 1) % len(r.ring)
}

// since returns the content of a node that a LOOKUP read after the instant.
func (r *recent) since(id uint64, after time.Time) (content, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.ring {
		if k := &r.ring[i]; k.id == id && k.seen.After(after) {
			return k.content, true
		}
	}
	return content{}, false
}

// told remembers which threads were answered ESTALE at OPEN, and when. The
// kernel then walks the path again, once, within the same open(2); so the
// next OPEN of that thread knows what it may rely on:
//   - the node was looked up after that instant: it was current during this
//     open(2), and its bytes are in recent;
//   - it was not: no walk can reach a newer node (a bind mount of the single
//     file, /proc/self/fd, O_PATH), and the current bytes are served through
//     the handle.
//
// Callers in a pid namespace that we cannot see have thread id 0 and are
// never remembered.
type told struct {
	mu sync.Mutex
	at map[uint32]time.Time
}

// toldFor bounds how long after its ESTALE a thread's next OPEN counts as the
// retry, and with it the size of the table.
const toldFor = time.Second

// remember is called before ESTALE is answered. It returns false for a thread
// that cannot be told from others: that one must not be.
func (t *told) remember(tid uint32) bool {
	if tid == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.at) >= 1024 {
		for k, at := range t.at {
			if time.Since(at) > toldFor {
				delete(t.at, k)
			}
		}
	}
	t.at[tid] = now()
	return true
}

// take returns the instant of a thread's ESTALE and forgets it.
func (t *told) take(tid uint32) (at time.Time, retry bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.at[tid]
	delete(t.at, tid)
	return at, ok && time.Since(at) <= toldFor
}
