package fs

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsfs/kmsfs/cache"
)

// pages drops plaintext from the kernel's page cache when its time has come:
// what a mapping, sendfile or splice left there, and in open=fast what any read
// did.
//
// The notification waits for a READ of that inode in flight, so it is sent
// from a timer's goroutine, which holds no lock; never from a handler.
//
// INVARIANT: due has every node that the kernel may have pages of, with a date
// not later than the end of any plaintext that they came from.
type pages struct {
	groupOf func(*handle) string // the key version of a ciphertext

	mu     sync.Mutex
	kernel notifier // nil before INIT and after the end
	due    map[uint64]*pagesOf

	journal paged
	// inherited are the nodes whose pages a predecessor left, until they are
	// dropped; nil when there are none.
	inherited atomic.Pointer[inheritedPages]
}

// paged is where a successor finds which nodes the kernel may have pages of.
type paged interface {
	Page(id uint64) bool // false: there is no room for that
	Unpage(id uint64)
}

// pagesOf are the pages of one node.
type pagesOf struct {
	timer *time.Timer
	at    time.Time
	key   cache.Key
	group string // key version
}

func newPages(groupOf func(*handle) string) *pages {
	return &pages{groupOf: groupOf, due: map[uint64]*pagesOf{}}
}

func (p *pages) start(k notifier) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kernel = k
}

// strayTrust is how long pages may stay in open=checked, where only mappings,
// sendfile and splice make any: neither asks anybody before it uses one again,
// so those that are left when this process is killed may be used for ever.
const strayTrust = time.Second

// dropWith drops a node's pages, which came from h, when the plaintext that
// they come from has nothing left. That is asked again: what was refused, or
// died in a jump of the clock, before the date was set is in no dropIf.
func (p *pages) dropWith(id uint64, h *handle, left func() time.Duration) {
	d := left()
	p.dropAt(id, h, d)
	if again := left(); again < d-time.Millisecond {
		p.dropAt(id, h, again)
	}
}

// dropAt drops a node's pages, which came from h, after d. An earlier date
// that is set stays: what is read between will set the next one.
func (p *pages) dropAt(id uint64, h *handle, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.due == nil {
		return
	}
	if p.journal != nil && !p.journal.Page(id) {
		d = 0 // nobody would know of them
	}
	at := now().Add(d)
	old := p.due[id]
	if old != nil && !at.Before(old.at) {
		return
	}
	if old != nil {
		old.timer.Stop()
	}
	p.due[id] = &pagesOf{time.AfterFunc(d, func() { p.drop(id) }), at, h.key, p.groupOf(h)}
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

// drop takes a node's pages back from the kernel. It returns false when nothing
// may be notified at the moment: then their date stays, and is tried again.
func (p *pages) drop(id uint64) bool {
	p.mu.Lock()
	k, o := p.kernel, p.due[id]
	delete(p.due, id)
	p.mu.Unlock()
	sent := k == nil || k.InodeNotify(id, 0, 0) != later // ENOENT: the kernel has forgotten it itself
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case sent && p.due[id] == nil && p.journal != nil:
		p.journal.Unpage(id)
	case !sent && o != nil && p.due != nil:
		if sooner := p.due[id]; sooner != nil {
			sooner.timer.Stop()
		}
		p.due[id] = o
		o.timer.Reset(dropAgain)
	}
	return sent
}

// dropAgain is how long after a drop that was not possible the next one is
// tried. A successor does not wait for that: it drops all there are.
const dropAgain = 50 * time.Millisecond

// inheritedPages is a set of nodes that grows smaller.
type inheritedPages struct {
	mu   sync.Mutex
	left map[uint64]chan struct{} // closed when the node's pages are dropped
}

// inherit returns the nodes that the kernel may have pages of from a
// predecessor's time. Their attributes are not told before these are dropped:
// with new attributes the kernel would trust the pages again.
func (p *pages) inherit(ids []uint64) []uint64 {
	if len(ids) > 0 {
		s := &inheritedPages{left: map[uint64]chan struct{}{}}
		for _, id := range ids {
			s.left[id] = make(chan struct{})
		}
		p.inherited.Store(s)
	}
	return ids
}

// dropLeft drops what was inherited, several at a time: each may wait for a
// READ in flight.
func (p *pages) dropLeft(ids []uint64) {
	s := p.inherited.Load()
	next := make(chan uint64, len(ids))
	for _, id := range ids {
		next <- id
	}
	close(next)
	var all sync.WaitGroup
	for range min(droppers, len(ids)) {
		all.Go(func() {
			for id := range next {
				for !p.drop(id) {
					time.Sleep(dropAgain)
				}
				s.mu.Lock()
				close(s.left[id])
				delete(s.left, id)
				s.mu.Unlock()
			}
		})
	}
	all.Wait()
	p.inherited.Store(nil)
}

// await waits until a node has no pages of a predecessor's time. They are
// dropped after a READ in flight, so somebody else must read meanwhile: cover
// is called before it waits.
func (p *pages) await(id uint64, cover func()) {
	s := p.inherited.Load()
	if s == nil {
		return
	}
	s.mu.Lock()
	dropped := s.left[id]
	s.mu.Unlock()
	if dropped != nil {
		cover()
		<-dropped
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
