package kms

import (
	"context"
	"slices"
	"sync"
)

type callerKey struct{}

// Callers are those whom one load is for: the uid that started it, and those
// who wait for it too. Whoever makes calls in turns reads them from the context
// (CallersOf); nothing else is known of a caller.
//
// They travel to the gate as a value of a context, through rooms that have no use
// for them. Whoever shares a load among callers holds them and adds to them.
//
// LOCK ORDER: Callers.mu, then whatever a Waiter locks.
//
// INVARIANT: uids names nobody twice, and begins with first.
// INVARIANT: waiting holds the load's waiters from the moment they stand in
// line until Left.
type Callers struct {
	first uint32 // who started the load; never changes

	mu      sync.Mutex // guards everything below
	uids    []uint32
	waiting []Waiter // one, unless a load began before its predecessor was out
}

// Waiter is a call that waits for its turn in the lines of its callers.
type Waiter interface {
	// AddCaller puts it into one more line, if it still waits.
	AddCaller(uid uint32)
}

// WithCaller says for whom the loads under ctx are made. It is a value, so it
// survives context.WithoutCancel.
func WithCaller(ctx context.Context, uid uint32) context.Context {
	return context.WithValue(ctx, callerKey{}, &Callers{first: uid, uids: []uint32{uid}})
}

// CallersOf is what WithCaller has put into a context, or nil.
func CallersOf(ctx context.Context) *Callers {
	c, _ := ctx.Value(callerKey{}).(*Callers)
	return c
}

// First is the uid that started the load.
func (c *Callers) First() uint32 { return c.first }

// AddCaller says that one more uid waits for the load. From then on the load stands
// in that uid's line, too, and goes with whichever is served first: who asks for a
// file that a flood asked for before must not wait for the flood.
func (c *Callers) AddCaller(uid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.uids, uid) {
		return
	}
	c.uids = append(c.uids, uid)
	for _, w := range c.waiting {
		w.AddCaller(uid)
	}
}

// Stand lets enter put a call into the lines of all callers. The Waiter that it
// returns is told of those who join, until Left; nil: the call need not wait.
// Nobody joins meanwhile, so none is missed.
func (c *Callers) Stand(enter func(uids []uint32) Waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := enter(c.uids); w != nil {
		c.waiting = append(c.waiting, w)
	}
}

// Left forgets a waiter that stands in line no more.
func (c *Callers) Left(w Waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(x Waiter) bool { return x == w })
}
