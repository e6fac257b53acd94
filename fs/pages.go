package fs

import (
	"sync"
	"time"
)

// pages drops plaintext that a mapping left in the kernel. Reads bypass the
// page cache, but a page fault fills it, and READ cannot tell one from the
// other. So whatever was read from is dropped when its plaintext dies.
//
// The notification waits for a READ of that inode in flight, so it is sent
// from a timer's goroutine, which holds no lock; never from a handler.
type pages struct {
	mu     sync.Mutex
	server notifier // nil before INIT and after the end
	due    map[uint64]*time.Timer
}

func newPages() *pages { return &pages{due: map[uint64]*time.Timer{}} }

func (p *pages) start(s notifier) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = s
}

// dropAt drops a node's pages after d. An earlier date that is set stays:
// what is read between is newer and will set the next one.
func (p *pages) dropAt(id uint64, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.due[id] == nil && p.due != nil {
		p.due[id] = time.AfterFunc(d, func() { p.drop(id) })
	}
}

func (p *pages) drop(id uint64) {
	p.mu.Lock()
	s := p.server
	delete(p.due, id)
	p.mu.Unlock()
	if s != nil {
		s.InodeNotify(id, 0, 0) // ENOENT: the kernel has forgotten it itself
	}
}

// forgetAttr makes the kernel ask for a node's attributes again. It touches
// no page and waits for nothing, so a handler may call it.
func (p *pages) forgetAttr(id uint64) {
	p.mu.Lock()
	s := p.server
	p.mu.Unlock()
	if s != nil {
		s.InodeNotify(id, -1, 0)
	}
}

func (p *pages) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.due {
		t.Stop()
	}
	p.due, p.server = nil, nil
}
