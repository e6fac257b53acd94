package gate

import (
	"fmt"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

const (
	// breakerContents is how many ciphertexts must have found no answer:
	// one file, or two, prove nothing about the service.
	breakerContents = 3
	breakerLoads    = 3               // loads, one after the other, that its window holds
	breakerPause    = time.Second     // before the first probe
	breakerMaxPause = 5 * time.Second // between later ones; each doubles it
)

// BreakerState says whether calls are made.
type BreakerState int

const (
	BreakerClosed   BreakerState = iota // calls are made
	BreakerOpen                         // calls fail at once
	BreakerHalfOpen                     // one call is made, the others fail at once
)

func (s BreakerState) String() string {
	switch s {
	case BreakerClosed:
		return "closed"
	case BreakerOpen:
		return "open"
	case BreakerHalfOpen:
		return "half-open"
	}
	return fmt.Sprintf("BreakerState(%d)", int(s))
}

// breaker keeps calls from waiting for a service that cannot be reached.
//
// It opens when breakerContents different ciphertexts found no answer within
// its window and nothing was answered in between, or when one load found not
// even a connection until its deadline: for that no ciphertext is to blame. The
// window is longer than breakerContents loads, so that a reader who opens one
// file after the other fills it as well. Any answer, also a
// refusal, a server's error or a throttling one, shows that the service can be
// reached: it closes the breaker and starts the count anew. A failed call that
// began before the last answer says nothing about the time since.
//
// gobreaker does not fit: it counts calls, not contents, its pause does not
// grow, and a late answer to a call from before does not close it.
//
// LOCK ORDER: breaker.mu is taken with no other lock held, and none under it.
//
// INVARIANT: while closed, failing has fewer than breakerContents entries.
// INVARIANT: at most one ticket of the present epoch is a probe.
type breaker struct {
	window time.Duration

	mu       sync.Mutex // guards everything below
	open     bool
	since    time.Time // when it last opened or closed
	epoch    uint64    // how often it opened
	pause    time.Duration
	next     time.Time // when the next probe may go
	probing  bool
	failing  map[content]time.Time // when each last found no answer
	answered time.Time             // when the last answer came
	last     string                // the last failure, in words
	refused  uint64
}

// newBreaker makes one for loads that take so long at most.
func newBreaker(load time.Duration) breaker {
	return breaker{window: breakerLoads * (load + time.Second)}
}

// ticket is the leave to make one call.
type ticket struct {
	action string
	probe  bool
	epoch  uint64    // of the probe
	begun  time.Time // when the call began
}

// admit lets a call stand in line, or refuses it at once. The ticket is given
// to report.
func (b *breaker) admit(action string, now time.Time) (ticket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return ticket{action: action}, nil
	case !b.probing && !now.Before(b.next):
		b.probing = true
		return ticket{action: action, probe: true, epoch: b.epoch}, nil
	}
	b.refused++
	return ticket{}, b.err(action)
}

// begin asks again when the call's turn has come.
func (b *breaker) begin(t *ticket, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open && !(t.probe && t.epoch == b.epoch) {
		b.refused++
		return b.err(t.action)
	}
	t.begun = now
	return nil
}

// report ends a ticket. It returns an error when the breaker has opened just
// now: everybody who stands in line is to get it.
func (b *breaker) report(t ticket, c content, v verdict, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	probe := t.probe && b.open && t.epoch == b.epoch
	if probe {
		b.probing = false
	}
	switch {
	case v.answered:
		if b.open {
			b.open, b.probing, b.since = false, false, now
		}
		clear(b.failing)
		b.answered = now
	case !v.lost:
		// It says nothing: the caller gave up, or it was never sent.
	case probe:
		b.last = v.words
		b.pause = min(2*b.pause, breakerMaxPause)
		b.next = now.Add(b.pause)
	case !b.open && !t.begun.Before(b.answered):
		return b.count(t, c, v, now)
	}
	return nil
}

func (b *breaker) count(t ticket, c content, v verdict, now time.Time) error {
	for old, at := range b.failing {
		if now.Sub(at) > b.window {
			delete(b.failing, old)
		}
	}
	if b.failing == nil {
		b.failing = make(map[content]time.Time)
	}
	b.failing[c] = now
	b.last = v.words
	if len(b.failing) < breakerContents {
		return nil
	}
	b.trip(now)
	return b.err(t.action)
}

// unreached is told of a load that ended without ever having found a
// connection. It returns an error as report does.
func (b *breaker) unreached(action string, begun time.Time, words string, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open || begun.Before(b.answered) {
		return nil
	}
	b.last = words
	b.trip(now)
	return b.err(action)
}

func (b *breaker) trip(now time.Time) {
	clear(b.failing)
	b.open, b.probing, b.since = true, false, now
	b.epoch++
	b.pause = breakerPause
	b.next = now.Add(b.pause)
}

func (b *breaker) err(action string) error {
	return &kms.Error{Class: kms.ErrTransient, Action: action, Detail: fmt.Sprintf(
		"not called: the service gave no answer, breaker open since %s, last seen: %s", b.since.Format(time.RFC3339), b.last)}
}

func (b *breaker) state(now time.Time) (BreakerState, time.Time) {
	switch {
	case !b.open:
		return BreakerClosed, b.since
	case b.probing || !now.Before(b.next):
		return BreakerHalfOpen, b.since
	}
	return BreakerOpen, b.since
}
