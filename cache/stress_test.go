package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/cache/secmem"
)

// Everything at once, with plaintexts that tell when they are torn, foreign or
// wiped under a lease. The race detector watches, the arena panics on a double
// free, and open proves that nothing is left.
func TestStress(t *testing.T) {
	rounds := 400
	if testing.Short() {
		rounds = 50
	}
	m, err := secmem.New(secmem.Config{Max: 128 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, ttl := range []time.Duration{50 * time.Microsecond, 3 * time.Millisecond, time.Minute} {
		t.Run(ttl.String(), func(t *testing.T) {
			m := m
			if ttl != time.Minute {
				m = nil // the large default: expiry rather than eviction
			}
			c := open(t, Config{TTL: ttl, MaxBytes: 96 << 10, Memory: m, Remember: func(error) time.Duration { return ttl }})
			var wg sync.WaitGroup
			for g := range 64 {
				wg.Go(func() { stress(t, c, rand.New(rand.NewPCG(uint64(g), uint64(ttl))), rounds) })
			}
			wg.Wait()
			if s := c.Stats(); s.Hits == 0 && ttl > time.Millisecond || s.Loads == 0 || s.Wiped == 0 {
				t.Errorf("nothing happened: %+v", s)
			} else {
				t.Logf("%+v", s)
			}
		})
	}
}

func stress(t *testing.T, c *Cache, rnd *rand.Rand, rounds int) {
	var held []*Lease
	for range rounds {
		k := key(rnd.IntN(300))
		switch n := rnd.IntN(100); {
		case n < 1:
			c.PurgeGroup(fmt.Sprint(rnd.IntN(4)))
		case n < 4:
			c.Purge(k)
		case n < 5 && rnd.IntN(20) == 0:
			c.PurgeAll()
		}
		size := 1 << rnd.IntN(13)
		fail, yields := rnd.IntN(20) == 0, rnd.IntN(4)
		ctx, cancel := context.WithCancel(t.Context())
		if rnd.IntN(8) == 0 {
			go cancel()
		}
		l, err := c.Get(ctx, k, LoaderFunc(func(ctx context.Context) (Loaded, error) {
			for range yields {
				runtime.Gosched()
			}
			if fail {
				return Loaded{}, errRefused
			}
			return Loaded{Plaintext: pattern(k, size), Group: fmt.Sprint(k[7] % 4)}, nil
		}))
		cancel()
		switch {
		case err == nil:
			checkPattern(t, k, l.Bytes())
			held = append(held, l)
		case errors.Is(err, errRefused), errors.Is(err, context.Canceled), errors.Is(err, ErrFull), errors.Is(err, ErrPurged), errors.Is(err, ErrLate) && c.ttl < time.Minute:
		default:
			t.Error(err)
		}
		if len(held) > 2 || err != nil {
			for _, l := range held {
				checkBytes(t, l)
				l.Release()
			}
			held = held[:0]
		}
		if s := c.Stats(); s.Bytes > s.Max {
			t.Errorf("%d bytes taken, the bound is %d", s.Bytes, s.Max)
		}
	}
	for _, l := range held {
		l.Release()
	}
}

func checkBytes(t *testing.T, l *Lease) { t.Helper(); checkPattern(t, l.e.key, l.Bytes()) }
