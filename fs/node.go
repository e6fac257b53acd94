package fs

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/kmsfs/kmsfs/fs/source"
)

const rootID = 1

// node is one thing the kernel knows: a directory, or one version of a file
// or a link.
//
// INVARIANT: what a file's node stands for never changes after it was made:
// changed bytes are another node. Its attributes are therefore the same
// whenever they are asked for, with one exception, see shown.
// INVARIANT: id depends on nothing but path, tuple and bytes, so that another
// process serving the same source gives the same ids.
type node struct {
	id    uint64
	rel   string // path below the source; for a file with its suffix
	kind  uint32 // source.ModeDir, ModeFile, ModeLink
	plain bool   // a regular file that is shown as it is
	version

	// shown is another version whose attributes are given out: the kernel
	// kept this node for an open that walked no path (a bind mount of the
	// file, /proc/self/fd), which was served the current bytes instead.
	shown atomic.Pointer[version]
	// tupleTrusted: the file had been left alone for over 2 s when it was read,
	// so that its tuple may stand for its bytes.
	tupleTrusted atomic.Bool
	// kept is the ciphertext of the version, for open=fast. It is set when
	// the node enters the table, or later, and then stays.
	kept atomic.Pointer[handle]
	refs uint64 // kernel lookups; guarded by nodes.mu
}

// version is what a file or link was at one moment.
type version struct {
	tuple source.Tuple
	hash  [sha256.Size]byte
	size  int64 // st_size: of the plaintext, or of the link's shown text
}

// nodeID hashes identity down to 63 bits; 0 and the root's id are not given.
func nodeID(kind uint32, rel string, t source.Tuple, hash [sha256.Size]byte) uint64 {
	h := sha256.New()
	var b [8]byte
	word := func(v uint64) {
		binary.LittleEndian.PutUint64(b[:], v)
		h.Write(b[:])
	}
	word(uint64(kind))
	word(uint64(len(rel)))
	h.Write([]byte(rel))
	if kind != source.ModeDir {
		for _, v := range []uint64{t.Dev, t.Ino, uint64(t.Size), uint64(t.Mtime), uint64(t.Ctime)} {
			word(v)
		}
		h.Write(hash[:])
	}
	id := binary.LittleEndian.Uint64(h.Sum(nil)) &^ (1 << 63)
	if id <= rootID {
		id += 2
	}
	return id
}

// nodes is the table of what the kernel holds.
//
// INVARIANT: a node is in byID while refs > 0; it is in byPath only as the
// newest version of its path. A reference is taken under mu together with
// the look at the table, so a forget cannot slip between.
type nodes struct {
	mu     sync.Mutex
	byID   map[uint64]*node
	byPath map[string]*node
	kept   int // bytes of ciphertext in nodes; at most keptMax
}

func newNodes(root *node) *nodes {
	t := &nodes{byID: map[uint64]*node{rootID: root}, byPath: map[string]*node{}}
	root.refs = 1 // never forgotten
	return t
}

func (t *nodes) get(id uint64) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

// current returns the newest known version of a path, or nil.
func (t *nodes) current(rel string) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byPath[rel]
}

// adopt takes one reference for the kernel and returns the node that stands
// for n in the table: n itself or an equal one that was there before. It
// returns nil when another file has the same 63 bits.
func (t *nodes) adopt(n *node) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.byID[n.id]; old != nil {
		if old.rel != n.rel || old.kind != n.kind || (n.kind != source.ModeDir && (old.tuple != n.tuple || old.hash != n.hash)) {
			return nil
		}
		if n.tupleTrusted.Load() {
			old.tupleTrusted.Store(true)
		}
		if h := n.kept.Load(); h != nil && old.kept.Load() == nil && t.keep(h) {
			old.kept.Store(h)
		}
		n = old
	} else if h := n.kept.Load(); h != nil && !t.keep(h) {
		n.kept.Store(nil)
	}
	n.refs++
	t.byID[n.id] = n
	t.byPath[n.rel] = n
	return n
}

// keep counts a handle that a node is to hold, if there is room for it.
func (t *nodes) keep(h *handle) bool {
	if t.kept+h.weight() > keptMax {
		return false
	}
	t.kept += h.weight()
	return true
}

// forget drops references. More than were given is not an error: the kernel
// may return those it had from a predecessor.
func (t *nodes) forget(id, lookups uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	if n == nil || id == rootID {
		return
	}
	if n.refs > lookups {
		n.refs -= lookups
		return
	}
	n.refs = 0
	if h := n.kept.Load(); h != nil {
		t.kept -= h.weight()
	}
	delete(t.byID, id)
	if t.byPath[n.rel] == n {
		delete(t.byPath, n.rel)
	}
}

// distrust makes the next look at a path read the bytes again: they were
// seen to differ although the tuple did not.
func (t *nodes) distrust(rel string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byPath, rel)
}
