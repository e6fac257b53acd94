package fs

import (
	"os"
	"sync"
	"syscall"

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
	kind    kms.Ciphertext
	context kms.EncryptionContext
	plain   *os.File // a file shown as it is; then there is no kind

	opens int    // guarded by handles.mu
	uid   uint32 // of the user that opened a plain file first
	// inherited: a predecessor opened it, nobody knows how often. It stays
	// until the kernel forgets the node.
	inherited bool
}

// handles are the open versions. A version that is open many times is one
// handle: its number is the node id of the version, so that it means the same
// to another process.
//
// INVARIANT: plain has for each uid the number of its handles that have a
// descriptor, and held is their sum.
type handles struct {
	mu    sync.Mutex
	open  map[uint64]*handle
	plain map[uint32]int
	held  int
}

func newHandles() *handles { return &handles{open: map[uint64]*handle{}, plain: map[uint32]int{}} }

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

// addPlain opens version id of a plain file once more. At most so many plain files
// may be open, and a uid gets a descriptor only while it has fewer than are left:
// no user can take them all.
func (t *handles) addPlain(id uint64, h *handle, most int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.open[id]; old != nil {
		old.opens++
		h.close()
		return nil
	}
	if t.plain[h.uid] >= most-t.held {
		h.close()
		return syscall.EMFILE
	}
	t.plain[h.uid]++
	t.held++
	h.opens = 1
	t.open[id] = h
	return nil
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
	if h.opens--; h.opens > 0 || h.inherited {
		return
	}
	delete(t.open, fh)
	h.close()
	if h.plain != nil {
		t.held--
		if t.plain[h.uid]--; t.plain[h.uid] == 0 {
			delete(t.plain, h.uid)
		}
	}
}

func (t *handles) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for fh, h := range t.open {
		delete(t.open, fh)
		h.close()
	}
	clear(t.plain)
	t.held = 0
}

// weight is about what a handle takes, in bytes.
func (h *handle) weight() int {
	_, text := h.kind.Identity()
	return 256 + len(h.rel) + len(text)
}

func (h *handle) close() {
	if h.plain != nil {
		h.plain.Close()
	}
}
