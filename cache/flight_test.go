package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSingleFlight(t *testing.T) {
	c := open(t, Config{})
	const callers = 200
	var calls, served atomic.Int64
	gate := make(chan struct{})
	load := LoaderFunc(func(context.Context) (Loaded, error) {
		calls.Add(1)
		<-gate
		return Loaded{Plaintext: pattern(key(1), 1700)}, nil
	})
	var wg sync.WaitGroup
	var in atomic.Int64
	for range callers {
		wg.Go(func() {
			if in.Add(1) == callers {
				close(gate)
			}
			l, err := c.Get(t.Context(), key(1), load)
			if err != nil {
				t.Error(err)
				return
			}
			checkPattern(t, key(1), l.Bytes())
			served.Add(1)
			l.Release()
		})
	}
	wg.Wait()
	if calls.Load() != 1 || served.Load() != callers {
		t.Errorf("%d loads for %d callers", calls.Load(), served.Load())
	}
}

func TestCallerLeavesLoadGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{})
		load := LoaderFunc(func(ctx context.Context) (Loaded, error) {
			select {
			case <-time.After(5 * time.Second):
				return Loaded{Plaintext: []byte("slow")}, nil
			case <-ctx.Done():
				return Loaded{}, ctx.Err()
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { // the one who starts it
			if _, err := c.Get(ctx, key(1), load); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			l, err := c.Get(t.Context(), key(1), load)
			if err != nil {
				t.Error(err)
				return
			}
			l.Release()
		})
		_, err := c.Get(ctx2(t, time.Second), key(1), load)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		cancel()
		wg.Wait()
		// alone, and gone before the end: kept all the same
		if _, err := c.Get(ctx2(t, time.Second), key(2), load); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		time.Sleep(5 * time.Second)
		if !has(t, c, key(1)) || !has(t, c, key(2)) {
			t.Error("a result was not kept")
		}
		// who has already left starts nothing
		if _, err := c.Get(ctx, key(3), load); !errors.Is(err, context.Canceled) || c.Stats().Loads != 2 {
			t.Errorf("%v, %+v", err, c.Stats())
		}
		for _, k := range []Key{key(1), key(2)} {
			if e, _ := c.kept.Peek(k); e.leases != 0 {
				t.Errorf("%d leases left", e.leases)
			}
		}
	})
}

func ctx2(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestLoadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{LoadTimeout: 3 * time.Second})
		start := time.Now()
		_, err := c.Get(t.Context(), key(1), LoaderFunc(func(ctx context.Context) (Loaded, error) {
			<-ctx.Done()
			return Loaded{}, ctx.Err()
		}))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// A load slower than the TTL serves nobody, whenever he came: it has failed.
// Nothing is kept, nothing loops.
func TestLoadSlowerThanTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Second, Remember: func(error) time.Duration { return time.Second }})
		var calls atomic.Int64
		load := LoaderFunc(func(context.Context) (Loaded, error) {
			calls.Add(1)
			time.Sleep(3 * time.Second)
			return Loaded{Plaintext: []byte("secret")}, nil
		})
		start := time.Now()
		var wg sync.WaitGroup
		for _, at := range []time.Duration{0, 500 * time.Millisecond, time.Second, 2 * time.Second, 3500 * time.Millisecond} {
			wg.Go(func() {
				time.Sleep(at)
				if _, err := c.Get(t.Context(), key(1), load); !errors.Is(err, ErrLate) || time.Since(start) != max(at, 3*time.Second) {
					t.Errorf("at %v: %v at %v", at, err, time.Since(start))
				}
			})
		}
		wg.Wait()
		if s := c.Stats(); calls.Load() != 1 || s.Entries != 0 || s.Bytes != 0 {
			t.Errorf("%d loads, %+v", calls.Load(), s)
		}
	})
}

// The time counts from when the question began, if the load waited before that:
// neither longer nor shorter. A machine that slept meanwhile makes it shorter.
func TestAskedAfterTheStart(t *testing.T) {
	for name, asleep := range map[string]time.Duration{"awake": 0, "asleep": time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			c := open(t, Config{TTL: 2 * time.Second})
			m := new(machine)
			m.plugInto(c)
			load := LoaderFunc(func(context.Context) (Loaded, error) {
				time.Sleep(5 * time.Second)
				asked := time.Now()
				time.Sleep(time.Second)
				m.tamper(c, func(x *machine) { x.asleep += asleep })
				return Loaded{Plaintext: []byte("secret"), Asked: asked}, nil
			})
			l, err := c.Get(t.Context(), key(1), load)
			if asleep > 0 {
				if !errors.Is(err, ErrLate) {
					t.Errorf("%s: %v", name, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			l.Release()
			time.Sleep(time.Second - time.Millisecond)
			if c.Stats().Entries != 1 {
				t.Error("dead before its time")
			}
			time.Sleep(2 * time.Millisecond)
			if c.Stats().Entries != 0 {
				t.Error("alive after its time")
			}
		})
	}
}

// What is past its TTL when it comes, but not past what may be stale, is served
// as that.
func TestLoadSlowerThanTTLButNotStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Second, Stale: 10 * time.Second})
		l, err := c.Get(t.Context(), key(1), LoaderFunc(func(context.Context) (Loaded, error) {
			time.Sleep(3 * time.Second)
			return Loaded{Plaintext: []byte("secret")}, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Release()
		if !l.Stale() || c.Stats().StaleServed != 1 {
			t.Errorf("stale %v, %+v", l.Stale(), c.Stats())
		}
	})
}

func TestCloseDuringLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{})
		ended := false
		load := LoaderFunc(func(ctx context.Context) (Loaded, error) {
			<-ctx.Done()
			time.Sleep(time.Second) // it takes its time
			ended = true
			return Loaded{Plaintext: []byte("late")}, nil
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Get(t.Context(), key(1), load); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
		synctest.Wait()
		c.Close()
		if !ended {
			t.Error("Close did not wait for the load")
		}
		wg.Wait()
	})
}
