package fs

import (
	"os"
	"sync"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/kms"
)

// handle is an opened version of a file.
//
// INVARIANT: it holds ciphertext, never plaintext and never a lease. So an
// old descriptor stays on its own version, and what it reads after the TTL
// has been decrypted anew or is refused.
type handle struct {
	rel     string // for the log
	key     cache.Key
	blob    kms.Blob
	context kms.EncryptionContext
	plain   *os.File // a file shown as it is; then there is no blob

	opens int // guarded by handles.mu
}

// handles are the open versions. A version that is open many times is one
// handle: its number is the node id of the version, so that it means the same
// to another process. Plain files have numbers of their own, with the top bit
// that no node id has.
type handles struct {
	mu   sync.Mutex
	open map[uint64]*handle
	last uint64
}

const plainBit = 1 << 63

func newHandles() *handles { return &handles{open: map[uint64]*handle{}} }

// add opens version id once more.
func (t *handles) add(id uint64, h *handle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.open[id]; old != nil {
		h = old
	}
	h.opens++
	t.open[id] = h
}

func (t *handles) addPlain(h *handle) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	h.opens = 1
	t.open[plainBit|t.last] = h
	return plainBit | t.last
}

func (t *handles) get(fh uint64) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[fh]
}

// has tells whether a version is open.
func (t *handles) has(id uint64) bool { return t.get(id) != nil }

func (t *handles) release(fh uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.open[fh]
	if h == nil {
		return
	}
	if h.opens--; h.opens == 0 {
		delete(t.open, fh)
		h.close()
	}
}

func (t *handles) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for fh, h := range t.open {
		delete(t.open, fh)
		h.close()
	}
}

func (h *handle) close() {
	if h.plain != nil {
		h.plain.Close()
	}
}
