package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errAway = errors.New("away")

// judge is the Judge of these tests.
func judge(err error) Trouble {
	switch {
	case errors.Is(err, errRefused):
		return Refused
	case errors.Is(err, errAway), errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	}
	return Failed
}

// service is what a Loader asks: it takes a while, or refuses, and counts.
type service struct {
	made time.Time

	mu    sync.Mutex // guards everything below
	takes time.Duration
	err   error
	at    []time.Duration // of each call, since made
}

func newService() *service { return &service{made: time.Now()} }

// will changes what the service does.
func (s *service) will(takes time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes, s.err = takes, err
}

// calls is when the service was asked.
func (s *service) calls() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.at)
}

// load gives the number of the call as plaintext.
func (s *service) load(ctx context.Context) (Loaded, error) {
	s.mu.Lock()
	s.at = append(s.at, time.Since(s.made))
	n, takes := len(s.at), s.takes
	s.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return Loaded{}, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return Loaded{Plaintext: []byte{byte(n)}, Group: "g"}, s.err
}

// number is what Get answers now, and how long that took.
func (s *service) number(t *testing.T, c *Cache) (n byte, stale bool, took time.Duration, err error) {
	t.Helper()
	begun := time.Now()
	l, err := c.Get(t.Context(), key(1), LoaderFunc(s.load))
	if err != nil {
		return 0, false, time.Since(begun), err
	}
	defer l.Release()
	return l.Bytes()[0], l.Stale(), time.Since(begun), nil
}

// A busy key is asked for once per TTL and nobody waits for it, however slow
// the service is; and no plaintext is served past its TTL.
func TestBusyNeverWaits(t *testing.T) {
	for _, every := range []time.Duration{10 * time.Millisecond, time.Second, 29 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := open(t, Config{TTL: time.Minute, Refresh: 15 * time.Second})
			new(machine).plugInto(c)
			s := newService()
			s.will(5*time.Second, nil)
			s.number(t, c)
			for time.Since(s.made) < 10*time.Minute {
				time.Sleep(every)
				n, stale, took, err := s.number(t, c)
				if err != nil || stale || took != 0 {
					t.Fatalf("after %v: stale %v, waited %v, %v", time.Since(s.made), stale, took, err)
				}
				if age := time.Since(s.made) - s.calls()[n-1]; age >= time.Minute {
					t.Fatalf("served at the age of %v", age)
				}
			}
			if st := c.Stats(); len(s.calls()) < 11 || len(s.calls()) > 14 || st.Refreshes != uint64(len(s.calls())-1) || st.Misses != 1 {
				t.Errorf("used every %v: %d calls in ten minutes, %+v", every, len(s.calls()), st)
			}
		})
	}
}

// What was read once is not loaded again; what was used and is not any more is
// loaded once more and then never.
func TestIdleIsNotReloaded(t *testing.T) {
	for name, tc := range map[string]struct {
		uses []time.Duration
		want int
	}{
		"its reader only":       {[]time.Duration{0, time.Millisecond, 999 * time.Millisecond}, 1},
		"once more":             {[]time.Duration{0, 2 * time.Second}, 2},
		"late in its life":      {[]time.Duration{0, 59 * time.Second}, 2},
		"once in the next life": {[]time.Duration{0, 2 * time.Second, 65 * time.Second}, 3},
		"after its life":        {[]time.Duration{0, 60 * time.Second}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := open(t, Config{TTL: time.Minute, Refresh: 15 * time.Second})
				new(machine).plugInto(c)
				s := newService()
				for _, at := range tc.uses {
					time.Sleep(at - time.Since(s.made))
					s.number(t, c)
				}
				time.Sleep(time.Hour)
				if len(s.calls()) != tc.want || c.Stats().Entries != 0 {
					t.Errorf("%d calls, want %d; %+v", len(s.calls()), tc.want, c.Stats())
				}
			})
		})
	}
}

// What was loaded together is not reloaded together, nor too late.
func TestReloadsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute, Refresh: 16 * time.Second})
		new(machine).plugInto(c)
		services := make([]*service, 100)
		get := func() {
			for i, s := range services {
				mustGet(t, c, key(i), LoaderFunc(s.load)).Release()
			}
		}
		for i := range services {
			services[i] = newService()
		}
		get()
		time.Sleep(2 * time.Second)
		get()
		time.Sleep(57 * time.Second)
		var at []time.Duration
		for _, s := range services {
			calls := s.calls()
			if len(calls) != 2 || calls[1] < 44*time.Second || calls[1] > 48*time.Second {
				t.Fatalf("loaded at %v", calls)
			}
			at = append(at, calls[1])
		}
		slices.Sort(at)
		if at[len(at)-1]-at[0] < time.Second || len(slices.Compact(at)) < 90 {
			t.Errorf("reloads at %v", at)
		}
	})
}

// A reload that fails leaves the plaintext to its TTL and is tried again, each
// time with half of what is left; one that is refused ends it at once.
func TestFailedReload(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		calls int
		dies  time.Duration
	}{
		"unavailable": {errAway, 5, time.Minute},
		"failed":      {errors.New("garbled"), 5, time.Minute},
		"refused":     {errRefused, 2, 45 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := open(t, Config{TTL: time.Minute, Refresh: 16 * time.Second, Judge: judge})
				new(machine).plugInto(c)
				c.spread = func(time.Duration) time.Duration { return time.Second }
				s := newService()
				s.number(t, c)
				time.Sleep(10 * time.Second)
				s.number(t, c)
				s.will(0, tc.err)
				time.Sleep(tc.dies - 10*time.Second - time.Millisecond)
				if c.Stats().Entries != 1 {
					t.Error("dead too early")
				}
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if s := c.Stats(); s.Entries != 0 || s.Wiped != 1+s.Loads-s.LoadErrors-1 {
					t.Errorf("%+v", s)
				}
				if len(s.calls()) != tc.calls {
					t.Errorf("calls at %v", s.calls())
				}
			})
		})
	}
}

// A short outage late in the TTL is over before anybody notices.
func TestReloadIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute, Refresh: 16 * time.Second, Judge: judge})
		new(machine).plugInto(c)
		s := newService()
		s.number(t, c)
		time.AfterFunc(40*time.Second, func() { s.will(0, errAway) })
		time.AfterFunc(50*time.Second, func() { s.will(0, nil) })
		for time.Since(s.made) < 2*time.Minute {
			time.Sleep(500 * time.Millisecond)
			if _, stale, _, err := s.number(t, c); err != nil || stale {
				t.Fatalf("after %v: %v, stale %v", time.Since(s.made), err, stale)
			}
		}
		if s := c.Stats(); s.Misses != 1 || s.LoadErrors == 0 {
			t.Errorf("%+v", s)
		}
	})
}

// named is a Loader that notes who waits for its load.
type named struct {
	*service
	name   string
	joined *[]string
}

func (n named) Load(ctx context.Context) (Loaded, error) { return n.load(ctx) }

func (n named) Join(waiting Loader) {
	*n.joined = append(*n.joined, waiting.(named).name+" waits for "+n.name)
}

// A reload is the single flight of its key, runs with the Loader of whoever used
// the entry last, and is counted in by a purge.
func TestReloadIsALoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var joined []string
		c := open(t, Config{TTL: time.Minute, Refresh: 15 * time.Second, LoadTimeout: time.Minute})
		var m machine
		m.plugInto(c)
		s := newService()
		get := func(name string) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			l, err := c.Get(ctx, key(1), named{s, name, &joined})
			if err != nil {
				t.Error(err)
				return
			}
			l.Release()
		}
		get("first")
		time.Sleep(10 * time.Second)
		get("user")
		s.will(30*time.Second, nil)
		time.Sleep(51 * time.Second) // the TTL is over, the reload is not
		if st := c.Stats(); st.Entries != 0 || st.Loading != 1 {
			t.Fatalf("%+v", st)
		}
		get("late")
		if len(s.calls()) != 2 || fmt.Sprint(joined) != "[late waits for user]" {
			t.Errorf("%d calls, joined %v", len(s.calls()), joined)
		}

		s.will(3*time.Second, nil)
		time.Sleep(10 * time.Second)
		get("user")
		for i := 0; c.Stats().Loading == 0; i++ {
			if i > 1000 {
				t.Fatal("no reload")
			}
			time.Sleep(100 * time.Millisecond)
		}
		c.PurgeGroup("g")
		time.Sleep(10 * time.Second)
		if st := c.Stats(); st.Entries != 0 || st.Bytes != 0 {
			t.Errorf("a reload brought back what was purged: %+v", st)
		}
	})
}

// In a full cache a reload takes the place of its own key.
func TestReloadEvictsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute, Refresh: 15 * time.Second, MaxBytes: 4 * 64})
		new(machine).plugInto(c)
		for range 200 {
			for i := range 4 {
				mustGet(t, c, key(i), give([]byte("x"))).Release()
			}
			time.Sleep(time.Second)
		}
		if s := c.Stats(); s.Evictions != 0 || s.Misses != 4 || s.Refreshes < 12 {
			t.Errorf("%+v", s)
		}
	})
}

func TestCloseEndsReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute, Refresh: 15 * time.Second})
		new(machine).plugInto(c)
		s := newService()
		s.number(t, c)
		time.Sleep(2 * time.Second)
		s.number(t, c)
		s.will(time.Hour, nil)
		time.Sleep(50 * time.Second)
		if c.Stats().Loading != 1 {
			t.Error("no reload")
		}
		c.Close()
		if st := c.Stats(); st.Loading != 0 {
			t.Errorf("%+v", st)
		}
	})
}
