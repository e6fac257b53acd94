package invalidate

import (
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsfs/kmsfs/cache"
)

// Pages drops plaintext from the kernel's page cache when its time has come:
// what a mapping, sendfile or splice left there, and in open=fast what any read
// did.
//
// The notification waits for a READ of that inode in flight, so it is sent
// from a timer's goroutine, which holds no lock; never from a handler.
//
// INVARIANT: due has every node that the kernel may have pages of, with a date
// not later than the end of any plaintext that they came from.
type Pages struct {
	mu      sync.Mutex
	kernel  Notifier // nil before Start and after the end
	journal Journal
	due     map[uint64]*pagesOf

	// inherited are the nodes whose pages a predecessor left, until they are
	// dropped; nil when there are none.
	inherited atomic.Pointer[inheritedPages]
}

// Journal is where a successor finds which nodes the kernel may have pages of.
type Journal interface {
	Page(id uint64) bool // false: there is no room for that
	Unpage(id uint64)
}

// pagesOf are the pages of one node.
type pagesOf struct {
	timer *time.Timer
	at    time.Time
	from  Plaintext
}

// Plaintext is where pages come from, as far as it may have to die.
type Plaintext struct {
	Key   cache.Key
	Group string // the key version; empty while nobody knows it
}

// NewPages knows of no pages yet.
func NewPages() *Pages { return &Pages{due: map[uint64]*pagesOf{}} }

// Start begins to drop. journal is told what there is to drop, and may be nil.
func (p *Pages) Start(to Notifier, journal Journal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kernel, p.journal = to, journal
}

// DropWith drops a node's pages when the plaintext that they come from has
// nothing left. left is asked a second time after the date is set: a purge, or a
// jump of the clock, between the two saw no date to move.
func (p *Pages) DropWith(id uint64, from Plaintext, left func() time.Duration) {
	d := left()
	p.DropAt(id, from, d)
	if again := left(); again < d-time.Millisecond {
		p.DropAt(id, from, again)
	}
}

// DropAt drops a node's pages, which come from a plaintext, after d. An earlier date
// that is set stays: what is read between will set the next one.
func (p *Pages) DropAt(id uint64, from Plaintext, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.due == nil {
		return
	}
	if p.journal != nil && !p.journal.Page(id) {
		d = 0 // nobody would know of them
	}
	at := time.Now().Add(d)
	old := p.due[id]
	if old != nil && !at.Before(old.at) {
		return
	}
	if old != nil {
		old.timer.Stop()
	}
	p.due[id] = &pagesOf{time.AfterFunc(d, func() { p.Drop(id) }), at, from}
}

// Left is how long a node's pages may stay.
func (p *Pages) Left(id uint64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.due[id]; o != nil {
		return max(0, time.Until(o.at))
	}
	return math.MaxInt64
}

// DropIf drops, soon, the pages that came from what is not to be served any
// more.
func (p *Pages) DropIf(dead func(Plaintext) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.due {
		if dead(o.from) {
			o.timer.Reset(0)
		}
	}
}

// Drop takes a node's pages back from the kernel. It returns false when nothing
// may be notified at the moment: then their date stays, and is tried again.
func (p *Pages) Drop(id uint64) bool {
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

// Inherit is told the nodes that the kernel may have pages of from a
// predecessor's time, before anything is answered. DropInherited drops them.
func (p *Pages) Inherit(ids []uint64) {
	if len(ids) > 0 {
		s := &inheritedPages{left: map[uint64]chan struct{}{}}
		for _, id := range ids {
			s.left[id] = make(chan struct{})
		}
		p.inherited.Store(s)
	}
}

// DropInherited drops what was inherited.
func (p *Pages) DropInherited() {
	s := p.inherited.Load()
	if s == nil {
		return
	}
	s.mu.Lock()
	ids := slices.Collect(maps.Keys(s.left))
	s.mu.Unlock()
	ForEach(ids, func(id uint64) {
		for !p.Drop(id) {
			time.Sleep(dropAgain)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.left[id])
		delete(s.left, id)
	})
	p.inherited.Store(nil)
}

// Await waits until a node has no pages of a predecessor's time: with new
// attributes the kernel would trust these again. They are dropped after a READ in
// flight, so somebody else must read meanwhile: willBlock is called before it
// waits.
func (p *Pages) Await(id uint64, willBlock func()) {
	s := p.inherited.Load()
	if s == nil {
		return
	}
	s.mu.Lock()
	dropped := s.left[id]
	s.mu.Unlock()
	if dropped != nil {
		willBlock()
		<-dropped
	}
}

// ForgetAttr makes the kernel ask for a node's attributes again. It touches
// no page and waits for nothing, so a handler may call it.
func (p *Pages) ForgetAttr(id uint64) {
	p.mu.Lock()
	k := p.kernel
	p.mu.Unlock()
	if k != nil {
		k.InodeNotify(id, -1, 0)
	}
}

// Close ends the dropping.
func (p *Pages) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.due {
		o.timer.Stop()
	}
	p.due, p.kernel = nil, nil
}
