package fs

import (
	"math"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/cache"
)

// pages drops plaintext from the kernel's page cache when its time has come:
// what a mapping left there, and in open=fast what any read did. READ cannot
// tell a page fault from a read past the cache, so whatever was read from is
// dropped.
//
// The notification waits for a READ of that inode in flight, so it is sent
// from a timer's goroutine, which holds no lock; never from a handler.
//
// INVARIANT: due has every node that the kernel may have pages of, with a date
// not later than the end of any plaintext that they came from.
type pages struct {
	mu     sync.Mutex
	kernel notifier // nil before INIT and after the end
	due    map[uint64]*pagesOf
}

// pagesOf are the pages of one node.
type pagesOf struct {
	timer *time.Timer
	at    time.Time
	key   cache.Key
	group string // key version
}

func newPages() *pages { return &pages{due: map[uint64]*pagesOf{}} }

func (p *pages) start(k notifier) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kernel = k
}

// dropAt drops a node's pages, which came from h, after d. An earlier date
// that is set stays: what is read between will set the next one.
func (p *pages) dropAt(id uint64, h *handle, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.due == nil {
		return
	}
	at := now().Add(d)
	old := p.due[id]
	if old != nil && !at.Before(old.at) {
		return
	}
	if old != nil {
		old.timer.Stop()
	}
	p.due[id] = &pagesOf{time.AfterFunc(d, func() { p.drop(id) }), at, h.key, h.blob.KeyVersionID}
}

// left is how long a node's pages may stay.
func (p *pages) left(id uint64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.due[id]; o != nil {
		return max(0, time.Until(o.at))
	}
	return math.MaxInt64
}

// dropIf drops, soon, the pages that came from what is not to be served any
// more.
func (p *pages) dropIf(dead func(key cache.Key, group string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.due {
		if dead(o.key, o.group) {
			o.timer.Reset(0)
		}
	}
}

func (p *pages) drop(id uint64) {
	p.mu.Lock()
	k := p.kernel
	delete(p.due, id)
	p.mu.Unlock()
	if k != nil {
		k.InodeNotify(id, 0, 0) // ENOENT: the kernel has forgotten it itself
	}
}

// forgetAttr makes the kernel ask for a node's attributes again. It touches
// no page and waits for nothing, so a handler may call it.
func (p *pages) forgetAttr(id uint64) {
	p.mu.Lock()
	k := p.kernel
	p.mu.Unlock()
	if k != nil {
		k.InodeNotify(id, -1, 0)
	}
}

func (p *pages) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.due {
		o.timer.Stop()
	}
	p.due, p.kernel = nil, nil
}
