package gate

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kmsfs/kmsfs/kms"
)

// queueModel drives a queue step by step and keeps the books beside it.
type queueModel struct {
	*queue
	slots, qps, burst int

	begun   time.Time
	waiting []*waiter
	uidsOf  map[*waiter][]uint32
	slotsOf []*line        // held, and to be released
	grants  map[uint32]int // since the last step
	total   int            // grants less what was given back
	ahead   map[[2]uint32]int
}

// step looks at what an action has done. back is how many tokens it returned,
// instant says that it took no time.
func (m *queueModel) step(t *rapid.T, tokens float64, back int, instant bool) {
	t.Helper()
	m.mu.Lock() // the timer's goroutine may have been here
	defer m.mu.Unlock()
	var still []*waiter
	for _, w := range m.waiting {
		select {
		case <-w.granted:
			if w.slot == nil || len(w.places) != 0 {
				t.Fatalf("granted nothing")
			}
			m.granted(w.slot)
		default:
			if len(w.places) == 0 {
				t.Fatalf("a waiter was lost")
			}
			still = append(still, w)
		}
	}
	m.waiting = still
	given := 0
	for _, n := range m.grants {
		given += n
	}
	m.total += given - back
	now := time.Now()
	left := m.pace.limiter.TokensAt(now)
	if want := min(tokens+float64(back), float64(m.burst)) - float64(given); instant && math.Abs(left-want) > 1e-6 {
		t.Fatalf("%v tokens are left of %v after %d grants, %d given back", left, tokens, given, back)
	}
	if most := float64(m.qps)*now.Sub(m.begun).Seconds() + float64(m.burst); float64(m.total) > most+1e-6 {
		t.Fatalf("%d grants, at most %v", m.total, most)
	}
	// Nobody sleeps who could go.
	if l := m.next(); l != nil && left >= 1+1e-6 {
		t.Fatalf("uid %d could go: %v tokens, %d slots", l.uid, left, m.free)
	}
	m.books(t)
	m.fair(t)
	clear(m.grants)
}

func (m *queueModel) granted(slot *line) {
	m.grants[slot.uid]++
	m.slotsOf = append(m.slotsOf, slot)
}

func (m *queueModel) books(t *rapid.T) {
	t.Helper()
	held, in := 0, 0
	for uid, l := range m.lines {
		held += l.held
		if l.uid != uid || l.held > (m.slots+1)/2 || l.held+l.waiting.Len() == 0 || (l.turn != nil) != (l.waiting.Len() > 0) {
			t.Fatalf("line %+v of %d slots", l, m.slots)
		}
		if l.turn != nil {
			in++
		}
	}
	if held+m.free != m.slots || held != len(m.slotsOf) || in != m.ring.Len() || m.count != len(m.waiting) {
		t.Fatalf("%d held of %d, %d free; %d of %d in the ring; %d of %d wait",
			held, len(m.slotsOf), m.free, in, m.ring.Len(), m.count, len(m.waiting))
	}
}

// fair holds the bound: while u waits and may go, no other uid gets more than
// one grant more than u does, over whatever stretch of steps.
func (m *queueModel) fair(t *rapid.T) {
	t.Helper()
	for u := range uint32(6) {
		l := m.lines[u]
		for v := range uint32(6) {
			pair := [2]uint32{u, v}
			if u == v || l == nil || l.waiting.Len() == 0 || l.held >= m.free {
				m.ahead[pair] = 0
				continue
			}
			m.ahead[pair] = max(m.ahead[pair], 0) + m.grants[v] - m.grants[u]
			if m.ahead[pair] > 1 {
				t.Fatalf("uid %d got %d more than uid %d, who waits", v, m.ahead[pair], u)
			}
		}
	}
}

// Fairness, no lost wake-up, no token for those who left, no more tokens than
// the rate, no more slots than a uid may have: for any order of arrivals,
// joins, departures, ends and pauses.
func TestQueueProperties(t *testing.T) {
	// The struct hides testing.T's Deadline, which is not for bubbles.
	synctest.Test(t, func(t *testing.T) { rapid.Check(struct{ rapid.TB }{t}, queueProperties) })
}

func queueProperties(t *rapid.T) {
	m := &queueModel{
		slots:  rapid.SampledFrom([]int{1, 2, 3, 5, 32, 1000}).Draw(t, "slots"),
		qps:    rapid.SampledFrom([]int{1, 50, 1000}).Draw(t, "qps"),
		burst:  rapid.SampledFrom([]int{1, 3, 50}).Draw(t, "burst"),
		begun:  time.Now(),
		uidsOf: map[*waiter][]uint32{}, grants: map[uint32]int{}, ahead: map[[2]uint32]int{},
	}
	m.queue = newQueue(Config{QPS: m.qps, Burst: m.burst, InFlight: m.slots})
	uid := rapid.Uint32Range(0, 5)
	tokens := func() float64 { return m.pace.limiter.TokensAt(time.Now()) }
	pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "which") }
	t.Repeat(map[string]func(*rapid.T){
		"arrive": func(t *rapid.T) {
			before := tokens()
			uids := []uint32{uid.Draw(t, "uid")}
			if other := uid.Draw(t, "other"); other < uids[0] {
				uids = append(uids, other)
			}
			w, err := m.enter(uids...)
			if err != nil {
				t.Fatal(err)
			}
			m.uidsOf[w] = uids
			if w.granted != nil {
				m.waiting = append(m.waiting, w)
			} else {
				m.granted(w.slot)
			}
			m.step(t, before, 0, true)
		},
		"join": func(t *rapid.T) {
			before := tokens()
			if len(m.waiting) == 0 {
				t.Skip()
			}
			w, u := m.waiting[pick(len(m.waiting))], uid.Draw(t, "uid")
			for _, known := range m.uidsOf[w] {
				if known == u {
					t.Skip()
				}
			}
			m.uidsOf[w] = append(m.uidsOf[w], u)
			w.AddCaller(u)
			m.step(t, before, 0, true)
		},
		"leave": func(t *rapid.T) {
			before := tokens()
			if len(m.waiting) == 0 {
				t.Skip()
			}
			i := pick(len(m.waiting))
			w := m.waiting[i]
			m.waiting = append(m.waiting[:i:i], m.waiting[i+1:]...)
			m.mu.Lock()
			m.leave(w)
			m.mu.Unlock()
			m.step(t, before, 0, true)
		},
		"end": func(t *rapid.T) {
			before := tokens()
			m.end(t, pick, m.release)
			m.step(t, before, 0, true)
		},
		"give back": func(t *rapid.T) {
			before := tokens()
			m.end(t, pick, m.giveBack)
			m.step(t, before, 1, true)
		},
		"pause": func(t *rapid.T) {
			time.Sleep(time.Duration(rapid.IntRange(1, 100).Draw(t, "ms")) * time.Millisecond)
			synctest.Wait()
			m.step(t, 0, 0, false)
		},
	})
	m.refuse(errors.New("over"))
	for _, w := range m.waiting {
		<-w.granted
		if w.err == nil || w.slot != nil {
			t.Fatal("not refused")
		}
	}
	for _, slot := range m.slotsOf {
		m.release(slot)
	}
	if len(m.lines) != 0 || m.ring.Len() != 0 || m.free != m.slots || m.count != 0 {
		t.Fatalf("left behind: %d lines, %d free", len(m.lines), m.free)
	}
}

func (m *queueModel) end(t *rapid.T, pick func(int) int, how func(*line)) {
	if len(m.slotsOf) == 0 {
		t.Skip()
	}
	i := pick(len(m.slotsOf))
	slot := m.slotsOf[i]
	m.slotsOf = append(m.slotsOf[:i:i], m.slotsOf[i+1:]...)
	how(slot)
}

// A uid's own loads go in the order in which they came, a retry as the last.
func TestQueueIsFIFOWithinUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(Config{QPS: 10, Burst: 1})
		var order []int
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				slot, err := q.acquire(t.Context(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, i)
				q.release(slot)
			})
			synctest.Wait()
		}
		wg.Wait()
		for i, got := range order {
			if got != i {
				t.Fatalf("order %v", order)
			}
		}
	})
}

// Who gives up is gone at once and says so; the next one gets the token.
func TestWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := service(func(context.Context, string, int) error { return nil }).gate(Config{QPS: 1, Burst: 1})
		if err := open(g, 1, "first"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(kms.WithCaller(t.Context(), 1))
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				_, err := g.Decrypt(ctx, kms.Blob{Text: "x"}, nil)
				if !errors.Is(err, context.Canceled) || !errors.Is(err, kms.ErrTransient) {
					t.Errorf("%v", err)
				}
			})
		}
		synctest.Wait()
		begun := time.Now()
		wg.Go(func() {
			if err := open(g, 1, "behind"); err != nil || time.Since(begun) != time.Second {
				t.Errorf("took %v: %v", time.Since(begun), err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		if s := g.Stats(); s.Waiting != 1 || time.Since(begun) != 0 {
			t.Errorf("%+v", s)
		}
		wg.Wait()
		if n := g.Stats().Calls; n != 2 {
			t.Errorf("%d calls", n)
		}
		idle(t, g)
	})
}

// The line of one uid has an end, beyond which loads fail at once.
func TestLineIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := service(hang).gate(Config{QPS: 1000, InFlight: 2, Waiting: 10})
		var wg sync.WaitGroup
		var crowded atomic.Int64
		flood(g, &wg, 1, 30, func(err error) {
			if !errors.Is(err, context.DeadlineExceeded) && errors.Is(err, kms.ErrTransient) {
				crowded.Add(1)
			}
		})
		if n, s := crowded.Load(), g.Stats(); n != 19 || s.Crowded != 19 || s.Waiting != 10 {
			t.Errorf("%d refused; %+v", n, s)
		}
		if err := open(g, 2, "another uid's"); errors.Is(err, errCrowded) {
			t.Error(err)
		}
		wg.Wait()
		idle(t, g)
	})
}
