package cache

import (
	"bytes"
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
	load := func(context.Context) (Loaded, error) {
		calls.Add(1)
		<-gate
		return Loaded{Plaintext: pattern(key(1), 1700)}, nil
	}
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
		load := func(ctx context.Context) (Loaded, error) {
			select {
			case <-time.After(5 * time.Second):
				return Loaded{Plaintext: []byte("slow")}, nil
			case <-ctx.Done():
				return Loaded{}, ctx.Err()
			}
		}
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
		_, err := c.Get(t.Context(), key(1), func(ctx context.Context) (Loaded, error) {
			<-ctx.Done()
			return Loaded{}, ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// A load slower than the TTL serves those who asked within a TTL of its start,
// once; who came later asks again, once; nothing is kept; nothing loops.
func TestLoadSlowerThanTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Second})
		var calls atomic.Int64
		load := func(context.Context) (Loaded, error) {
			n := calls.Add(1)
			time.Sleep(3 * time.Second)
			return Loaded{Plaintext: []byte{byte(n)}}, nil
		}
		start := time.Now()
		var wg sync.WaitGroup
		for _, who := range []struct {
			at   time.Duration
			want byte
			end  time.Duration
		}{{0, 1, 3 * time.Second}, {500 * time.Millisecond, 1, 3 * time.Second}, {time.Second, 2, 6 * time.Second}, {2 * time.Second, 2, 6 * time.Second}} {
			wg.Go(func() {
				time.Sleep(who.at)
				l, err := c.Get(t.Context(), key(1), load)
				if err != nil {
					t.Error(err)
					return
				}
				if b := l.Bytes(); !bytes.Equal(b, []byte{who.want}) || time.Since(start) != who.end || l.Hit() {
					t.Errorf("at %v: load %d at %v", who.at, b[0], time.Since(start))
				}
				l.Release()
			})
		}
		wg.Wait()
		if s := c.Stats(); calls.Load() != 2 || s.Entries != 0 || s.Bytes != 0 || s.Wiped != 2 {
			t.Errorf("%d loads, %+v", calls.Load(), s)
		}
	})
}

func TestCloseDuringLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{})
		ended := false
		load := func(ctx context.Context) (Loaded, error) {
			<-ctx.Done()
			time.Sleep(time.Second) // it takes its time
			ended = true
			return Loaded{Plaintext: []byte("late")}, nil
		}
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
