package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// What is true of every answer, whatever the service does, whoever reloads in
// the background, and however the clocks are set. The exact model knows neither
// reloads nor stale plaintext: they come from other goroutines.

const (
	lifeTTL     = 10 * time.Second
	lifeStale   = 6 * time.Second
	lifeRefresh = 4 * time.Second
	lifeTimeout = 5 * time.Second
	lifeOdd     = 337 * time.Microsecond
)

// deed is one step of a drawn program. lifeOdd keeps loads from ending in the
// very moment in which somebody stops waiting: then either may be first.
type deed struct {
	Do  string
	Key int
	D   time.Duration
}

var deeds = rapid.Custom(func(t *rapid.T) deed {
	return deed{
		Do: rapid.SampledFrom([]string{"get", "get", "get", "get", "get", "get", "get", "wait", "wait", "wait",
			"get", "get", "wait", "wait", "fine", "fine", "away", "away", "refusing", "garbling", "suspend", "set clock", "set back", "purge", "purge group"}).Draw(t, "do"),
		Key: rapid.IntRange(0, 2).Draw(t, "key"),
		D:   time.Duration(rapid.SampledFrom([]int{0, 0, 1, 100, 500, 900, 990, 1010, 2100, 3000, 4000, 4900}).Draw(t, "ms")) * time.Millisecond,
	}
})

func TestLife(t *testing.T) {
	for range 10 { // some mistakes take a thousand programs to show
		rapid.Check(t, func(rt *rapid.T) {
			program := rapid.SliceOfN(deeds, 60, 120).Draw(rt, "program")
			var failed error
			synctest.Test(t, func(t *testing.T) { failed = live(t, program) })
			if failed != nil {
				rt.Fatal(failed)
			}
		})
	}
}

// moment is both clocks.
type moment struct{ boot, wall time.Duration }

// age is how long ago then was, by the clock that says more.
func (now moment) age(then moment) time.Duration { return max(now.boot-then.boot, now.wall-then.wall) }

// fetch is one run of the Loader.
type fetch struct {
	key        int
	begun      moment
	started    time.Time
	oldest     time.Duration // at any step: a clock set forward may be set back
	over, good bool
	away       bool // it found no answer
	took       time.Duration
}

// life is a cache, a service with moods, and what happened so far. The program
// holds its lock unless it waits: then loads begin and end.
type life struct {
	c *Cache
	m machine

	mu      sync.Mutex // guards everything below
	mood    string
	takes   time.Duration
	fetches []*fetch
	last    [3]*fetch // the last that ended, of each key
	dead    [3]int    // fetches of a key before this one may not be served
	wrong   error
}

func (w *life) now() moment {
	since := time.Since(w.m.start) + w.m.asleep
	return moment{since, since + w.m.step}
}

func (w *life) load(k int) Loader {
	return LoaderFunc(func(ctx context.Context) (Loaded, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		n := len(w.fetches)
		for _, other := range w.fetches {
			if other.key == k && !other.over && w.wrong == nil {
				w.wrong = fmt.Errorf("two loads of key %d at once", k)
			}
		}
		f := &fetch{key: k, begun: w.now(), started: time.Now()}
		w.fetches = append(w.fetches, f)
		takes := time.After(w.takes)
		w.wait(func() {
			select {
			case <-takes:
			case <-ctx.Done():
			}
		})
		f.over, f.took = true, w.now().age(f.begun)
		switch {
		case ctx.Err() == context.Canceled:
			return Loaded{}, ctx.Err()
		case ctx.Err() != nil || w.mood == "away":
			f.away, w.last[k] = true, f
			return Loaded{}, errAway
		case w.mood == "refusing":
			w.last[k], w.dead[k] = f, len(w.fetches)
			return Loaded{}, errRefused
		case w.mood == "garbling":
			w.last[k] = f
			return Loaded{}, errors.New("garbled")
		}
		f.good, w.last[k] = true, f
		return Loaded{Plaintext: binary.BigEndian.AppendUint64([]byte{byte(k)}, uint64(n)), Group: fmt.Sprint(k)}, nil
	})
}

func (w *life) wait(f func()) {
	w.mu.Unlock()
	defer w.mu.Lock()
	f()
}

func live(t *testing.T, program []deed) error {
	w := &life{mood: "fine"}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.c = open(t, Config{TTL: lifeTTL, Refresh: lifeRefresh, Stale: lifeStale, LoadTimeout: lifeTimeout, Judge: judge})
	w.m.plugInto(w.c)
	w.c.spread = func(most time.Duration) time.Duration { return most / 2 } // a failure must be found again
	for i, d := range program {
		if err := w.step(t, d); err != nil {
			return fmt.Errorf("step %d, %+v: %w", i, d, err)
		}
		w.wait(synctest.Wait)
		for _, f := range w.fetches {
			f.oldest = max(f.oldest, w.now().age(f.begun))
		}
		if w.wrong != nil {
			return fmt.Errorf("step %d, %+v: %w", i, d, w.wrong)
		}
	}
	// Nobody asks any more: at most what was in use is loaded once more.
	n := len(w.fetches)
	w.mood = "fine"
	w.wait(func() { time.Sleep(2 * (lifeTTL + lifeStale + lifeTimeout)) })
	w.wait(synctest.Wait)
	if s := w.c.Stats(); s.Entries != 0 || s.Stale != 0 || s.Loading != 0 || s.Bytes != 0 || len(w.fetches) > n+3 {
		return fmt.Errorf("long after the last use: %+v, %d loads", s, len(w.fetches)-n)
	}
	return nil
}

func (w *life) step(t *testing.T, d deed) error {
	switch d.Do {
	case "get":
		return w.get(t, d.Key)
	case "wait":
		w.wait(func() { time.Sleep(d.D) })
	case "suspend", "set clock", "set back":
		w.m.tamper(w.c, func(m *machine) {
			switch d.Do {
			case "suspend":
				m.asleep += d.D
			case "set clock":
				m.step += d.D
			default:
				m.step -= d.D
			}
		})
		w.wait(func() { time.Sleep(bootEvery) })
	case "purge":
		w.dead[d.Key] = len(w.fetches)
		w.c.Purge(key(d.Key))
	case "purge group":
		w.dead[d.Key] = len(w.fetches)
		w.c.PurgeGroup(fmt.Sprint(d.Key))
	default:
		w.mood, w.takes = d.Do, d.D
		if d.D > 0 {
			w.takes += lifeOdd
		}
	}
	return nil
}

func (w *life) get(t *testing.T, k int) error {
	asked, begun, loads := w.now(), time.Now(), len(w.fetches)
	dead := w.dead[k] // what is refused from now on may have been served just before
	bridged := false  // something may be served for longer than anybody waits
	for n, f := range w.fetches {
		bridged = bridged || f.key == k && f.good && n >= dead && max(f.oldest, asked.age(f.begun)) < lifeTTL+lifeStale-staleAfter
	}
	var l *Lease
	var err error
	w.wait(func() { l, err = w.c.Get(t.Context(), key(k), w.load(k)) })
	took, now := time.Since(begun), w.now()
	if bridged && took > staleAfter {
		return fmt.Errorf("waited for %v although there was something stale", took)
	}
	if err != nil {
		if last := w.last[k]; errors.Is(err, ErrLate) && last != nil && last.took >= lifeTTL+lifeStale {
			return nil
		} else if last == nil || last.good || len(w.fetches) == loads && last.started.Before(begun.Add(-lifeTimeout)) {
			return fmt.Errorf("%w, but no load has just failed", err)
		}
		if bridged && errors.Is(err, errAway) {
			return errors.New("the service was away, and nothing stale was served")
		}
		return nil
	}
	defer l.Release()
	n := int(binary.BigEndian.Uint64(l.Bytes()[1:]))
	f := w.fetches[n]
	switch {
	case f.key != k || int(l.Bytes()[0]) != k:
		return fmt.Errorf("the plaintext of key %d", f.key)
	case n < dead:
		return fmt.Errorf("load %d was purged or refused", n)
	case l.Hit() && took != 0:
		return fmt.Errorf("a hit after %v", took)
	case !l.Stale() && now.age(f.begun) >= lifeTTL:
		return fmt.Errorf("served %v after its load began", now.age(f.begun))
	case !l.Stale():
		return nil
	case now.age(f.begun) >= lifeTTL+lifeStale || l.Left() <= 0:
		return fmt.Errorf("stale, %v after its load began", now.age(f.begun))
	}
	for _, other := range w.fetches[n+1:] {
		if other.key == k && !other.over && now.age(other.begun) >= staleAfter {
			return nil
		}
	}
	if last := w.last[k]; !last.away && f.took < lifeTTL {
		return errors.New("stale, but the last load was answered")
	}
	return nil
}
