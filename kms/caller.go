package kms

import (
	"context"
	"slices"
	"sync"
)

type callerKey struct{}

// noCaller stands in line for loads that nobody is named for. No user has this
// id: to chown it means "do not change".
const noCaller = ^uint32(0)

// party is who one load is for: the uid that started it, and those who wait
// for it too.
//
// LOCK ORDER: party.mu, then queue.mu.
//
// INVARIANT: uids is never empty and names nobody twice; the first one started
// the load.
// INVARIANT: waiting holds the party's waiters from the moment they stand in
// line until their acquire returns.
type party struct {
	mu      sync.Mutex // guards everything below
	uids    []uint32
	waiting []*waiter // one, unless a load began before its predecessor was out
}

// WithCaller says for whom the loads under ctx are made. It is a value, so it
// survives context.WithoutCancel.
func WithCaller(ctx context.Context, uid uint32) context.Context {
	return context.WithValue(ctx, callerKey{}, &party{uids: []uint32{uid}})
}

// Join says that the caller of one context now waits for the load that runs
// under another, which somebody else started. Both come from WithCaller. From
// then on the load stands in both callers' lines and goes with whichever is
// served first: who asks for a file that a flood asked for before must not
// wait for the flood.
func Join(load, caller context.Context) {
	l, c := partyOf(load), partyOf(caller)
	if l == nil || c == nil || l == c {
		return
	}
	c.mu.Lock()
	uid := c.uids[0]
	c.mu.Unlock()

	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.uids, uid) {
		return
	}
	l.uids = append(l.uids, uid)
	for _, w := range l.waiting {
		w.queue.also(w, uid)
	}
}

func partyOf(ctx context.Context) *party {
	p, _ := ctx.Value(callerKey{}).(*party)
	return p
}

// enter puts a waiter into the lines of all of the party, and keeps it there
// for those who join. Without a party it stands in the line of noCaller.
func (p *party) enter(q *queue) (*waiter, error) {
	if p == nil {
		return q.enter(noCaller)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w, err := q.enter(p.uids...)
	if err == nil && w.granted != nil {
		p.waiting = append(p.waiting, w)
	}
	return w, err
}

// left forgets a waiter that stands in line no more.
func (p *party) left(w *waiter) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(x *waiter) bool { return x == w })
}
