package gate

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

var errCrowded = errors.New("too many waiting") // stays inside

// queue lets calls begin: each needs a token of the pace and a slot. Those who
// wait stand in line by uid, first come first served, and the uids take turns.
//
// A uid takes a slot only while it holds fewer than are free. So one uid alone
// holds at most half of them (rounded up), and while k uids hang on to theirs,
// the next one still finds one (as long as there are 2^k slots).
// No library has it: rate.Limiter and semaphore.Weighted know one line only.
//
// Between two grants to a uid that waits all the while and may take a slot,
// every other uid gets at most one.
//
// LOCK ORDER: kms.Callers, then queue.mu. Nothing is called under queue.mu that
// could wait.
//
// INVARIANT: ring holds exactly the lines in which somebody waits, the next
// one to be served first.
// INVARIANT: free + the sum of all held = the number of slots.
// INVARIANT: after each method, either nobody waits who may take a slot, or
// timer will fire when there is a token for the first who may.
// INVARIANT: lines holds exactly the lines with a waiter or a held slot.
type queue struct {
	maxWaiting int // of one uid

	mu    sync.Mutex // guards everything below, and all lines and waiters
	pace  pace
	free  int
	lines map[uint32]*line
	ring  list.List // of *line
	timer *time.Timer
	count int    // who waits
	waits uint64 // who ever had to
}

// line is the waiters of one uid.
type line struct {
	uid     uint32
	held    int           // slots
	waiting list.List     // of *waiter
	turn    *list.Element // in queue.ring, or nil
}

// waiter is one call that wants to begin.
//
// INVARIANT: it stands in all of its places until it is granted, refused, or
// leaves; after that in none.
type waiter struct {
	queue   *queue
	granted chan struct{} // closed when granted or refused; nil: granted at once
	places  []place
	slot    *line // whose slot it got
	err     error // why it was refused
}

type place struct {
	line *line
	at   *list.Element
}

func newQueue(cfg Config) *queue {
	return &queue{
		maxWaiting: cfg.waiting(),
		pace:       newPace(cfg.QPS, cfg.Burst),
		free:       cfg.inFlight(),
		lines:      make(map[uint32]*line),
	}
}

// acquire waits until a call for the callers may begin, or ctx ends. The slot it
// returns is given to release.
func (q *queue) acquire(ctx context.Context, callers *kms.Callers) (*line, error) {
	w, err := q.stand(callers)
	if err != nil {
		return nil, err
	}
	if w.granted == nil {
		return w.slot, nil
	}
	defer w.left(callers)
	select {
	case <-w.granted:
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		q.leave(w)
		return nil, ctx.Err()
	case w.err != nil:
		return nil, w.err
	}
	return w.slot, nil
}

// enter puts a waiter into the lines of the uids, of which the first one
// counts for the bound.
func (q *queue) enter(uids ...uint32) (*waiter, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := q.line(uids[0])
	if q.ring.Len() == 0 && first.held < q.free && q.pace.take(time.Now()) == 0 {
		q.free--
		first.held++
		return &waiter{slot: first}, nil
	}
	if first.waiting.Len() >= q.maxWaiting {
		return nil, errCrowded
	}
	w := &waiter{queue: q, granted: make(chan struct{})}
	q.count++
	q.waits++
	for _, uid := range uids {
		q.joinLine(w, uid)
	}
	q.pump()
	return w, nil
}

func (q *queue) joinLine(w *waiter, uid uint32) {
	l := q.line(uid)
	if l.waiting.Len() >= q.maxWaiting {
		return // it stands in another line already
	}
	w.places = append(w.places, place{l, l.waiting.PushBack(w)})
	if l.turn == nil {
		l.turn = q.ring.PushBack(l)
	}
}

// release ends a call: its slot is free.
func (q *queue) release(slot *line) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.vacate(slot)
	q.pump()
}

// giveBack ends a call that was not made: its token is for somebody else.
func (q *queue) giveBack(slot *line) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.undo(slot)
}

// leave takes out a waiter who gave up. What it may have been granted in the
// same moment goes on to the next.
func (q *queue) leave(w *waiter) {
	if len(w.places) > 0 {
		q.remove(w)
		q.pump()
	} else if w.slot != nil {
		q.undo(w.slot)
	}
}

func (q *queue) undo(slot *line) {
	q.pace.giveBack(time.Now())
	q.vacate(slot)
	q.pump()
}

// refuse sends everybody away with an error.
func (q *queue) refuse(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.ring.Len() > 0 {
		w := q.ring.Front().Value.(*line).waiting.Front().Value.(*waiter)
		q.remove(w)
		w.err = err
		close(w.granted)
	}
	q.pump()
}

// reserve takes a token ahead of its time. Whoever does waits that long, or
// gives it back.
func (q *queue) reserve() (wait time.Duration, undo func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pace.reserve(time.Now()), func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.pace.giveBack(time.Now())
		q.pump()
	}
}

// throttled slows down.
func (q *queue) throttled() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pace.throttled(time.Now())
}
