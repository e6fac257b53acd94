package cache

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Past the TTL the answer depends on what the service says.
func TestStale(t *testing.T) {
	for name, tc := range map[string]struct {
		stale time.Duration
		at    time.Duration // of the Get, after the load
		err   error
		takes time.Duration
		hangs bool

		served byte // 1 the old plaintext, 2 a new one, 0 none
		waits  time.Duration
	}{
		"fine":                        {stale: time.Minute, at: 70 * time.Second, served: 2},
		"slow":                        {stale: time.Minute, at: 70 * time.Second, takes: 900 * time.Millisecond, served: 2, waits: 900 * time.Millisecond},
		"too slow":                    {stale: time.Minute, at: 70 * time.Second, takes: 5 * time.Second, served: 1, waits: time.Second},
		"hanging":                     {stale: time.Minute, at: 70 * time.Second, takes: time.Hour, served: 1, waits: time.Second},
		"unavailable":                 {stale: time.Minute, at: 70 * time.Second, err: errAway, served: 1},
		"unavailable, in a while":     {stale: time.Minute, at: 70 * time.Second, err: errAway, takes: 500 * time.Millisecond, served: 1, waits: 500 * time.Millisecond},
		"refused":                     {stale: time.Minute, at: 70 * time.Second, err: errRefused},
		"failed":                      {stale: time.Minute, at: 70 * time.Second, err: errors.New("garbled")},
		"unavailable in its last ns":  {stale: time.Minute, at: 2*time.Minute - 1, err: errAway, served: 1},
		"unavailable at the end":      {stale: time.Minute, at: 2 * time.Minute, err: errAway},
		"it ends during the wait":     {stale: time.Minute, at: 2*time.Minute - time.Millisecond, err: errAway, takes: 2 * time.Millisecond, waits: 2 * time.Millisecond},
		"it ends during a long wait":  {stale: time.Minute, at: 2*time.Minute - time.Millisecond, takes: 5 * time.Second, served: 2, waits: 5 * time.Second},
		"fresh":                       {stale: time.Minute, at: time.Minute - 1, err: errRefused, served: 1},
		"nothing may be stale":        {at: 70 * time.Second, err: errAway},
		"nothing may be stale, fresh": {at: time.Minute - 1, err: errAway, served: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := open(t, Config{TTL: time.Minute, Stale: tc.stale, Judge: judge})
				new(machine).plugInto(c)
				s := newService()
				s.number(t, c)
				time.Sleep(tc.at)
				s.will(tc.takes, tc.err)
				n, stale, took, err := s.number(t, c)
				if n != tc.served || took != tc.waits || stale != (tc.served == 1 && tc.at >= time.Minute) {
					t.Errorf("plaintext %d, stale %v, after %v, %v", n, stale, took, err)
				}
				if tc.served == 0 && !errors.Is(err, tc.err) {
					t.Errorf("%v instead of the load's error", err)
				}
				if st := c.Stats(); errors.Is(tc.err, errRefused) && tc.served == 0 && (st.Entries != 0 || st.Stale != 0 || st.Purged != 1 || st.Bytes != 0) {
					t.Errorf("a refusal left %+v", st)
				}
			})
		})
	}
}

// Nothing lives longer than TTL and Stale together, by either clock, whatever
// is asked meanwhile, and it is wiped then by the timer alone.
func TestStaleEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		tamper func(*machine)
		after  time.Duration // of running time, since the load
		alive  bool
	}{
		"nothing":                      {func(*machine) {}, 2*time.Minute - 1, true},
		"at the end":                   {func(*machine) {}, 2 * time.Minute, false},
		"asleep for all of it":         {func(m *machine) { m.asleep = 2 * time.Minute }, 2 * time.Millisecond, false},
		"asleep past the TTL":          {func(m *machine) { m.asleep = 90 * time.Second }, 30*time.Second - 1, true},
		"asleep and then awake":        {func(m *machine) { m.asleep = 90 * time.Second }, 30 * time.Second, false},
		"asleep with the clock undone": {func(m *machine) { m.asleep, m.step = 2*time.Minute, -2*time.Minute }, 2 * time.Millisecond, false},
		"set back does not stretch":    {func(m *machine) { m.step = -time.Hour }, 2 * time.Minute, false},
		"set back":                     {func(m *machine) { m.step = -time.Hour }, 119 * time.Second, true},
		"set forward":                  {func(m *machine) { m.step = 2 * time.Minute }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := open(t, Config{TTL: time.Minute, Refresh: 10 * time.Second, Stale: time.Minute, Judge: judge})
				var m machine
				m.plugInto(c)
				s := newService()
				s.number(t, c)
				time.Sleep(0)
				m.tamper(c, tc.tamper)
				s.will(0, errAway)
				end := time.Now().Add(tc.after)
				for time.Until(end) > 3*time.Second { // asking does not stretch it
					if _, _, _, err := s.number(t, c); err != nil {
						t.Fatal(err)
					}
					time.Sleep(3 * time.Second)
				}
				time.Sleep(time.Until(end))
				_, _, _, err := s.number(t, c)
				if (err == nil) != tc.alive {
					t.Errorf("alive: %v", err == nil)
				}
				if tc.alive {
					time.Sleep(time.Hour)
				}
				synctest.Wait()
				if st := c.Stats(); st.Entries != 0 || st.Stale != 0 || st.Bytes != 0 || st.Wiped != 1 || st.Expired != 1 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// What the wall clock made stale does not become fresh when it is set back.
func TestStaleStaysStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute, Stale: time.Hour, Judge: judge})
		var m machine
		m.plugInto(c)
		s := newService()
		s.number(t, c)
		for _, step := range []time.Duration{2 * time.Minute, 0} {
			m.tamper(c, func(m *machine) { m.step = step })
			s.will(0, errAway)
			if _, stale, _, err := s.number(t, c); err != nil || !stale {
				t.Errorf("stale: %v, %v", stale, err)
			}
		}
	})
}

// While the service hangs, one reader a load waits a second and no other waits
// at all; when it answers again, the next who asks has a fresh plaintext.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute, Stale: time.Hour, Judge: judge, LoadTimeout: 10 * time.Second})
		new(machine).plugInto(c)
		s := newService()
		s.number(t, c)
		time.Sleep(time.Minute)
		s.will(time.Hour, nil)
		waited := 0
		for time.Since(s.made) < 171*time.Second { // ten loads that time out, and the second after each
			_, stale, took, err := s.number(t, c)
			if err != nil || !stale || took > time.Second {
				t.Fatalf("stale %v after %v, %v", stale, took, err)
			}
			if took > 0 {
				waited++
			}
			time.Sleep(250 * time.Millisecond)
		}
		if waited > 11 || len(s.calls()) > 12 {
			t.Errorf("%d of the readers waited, %d calls", waited, len(s.calls()))
		}
		s.will(0, nil)
		time.Sleep(11 * time.Second)
		if _, stale, _, err := s.number(t, c); err != nil || stale {
			t.Errorf("after the outage: stale %v, %v", stale, err)
		}
		if st := c.Stats(); st.Stale != 0 || st.StaleServed == 0 || st.Entries != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// A refusal that comes when everybody has been served something stale kills it
// all the same, and so does every purge.
func TestStaleIsPurged(t *testing.T) {
	for name, purge := range map[string]func(*Cache){
		"key":   func(c *Cache) { c.Purge(key(1)) },
		"group": func(c *Cache) { c.PurgeGroup("g") },
		"all":   func(c *Cache) { c.PurgeAll() },
		"refused in the background": func(c *Cache) {
			l, err := c.Get(context.Background(), key(1), LoaderFunc(func(context.Context) (Loaded, error) {
				time.Sleep(2 * time.Second)
				return Loaded{}, errRefused
			}))
			if err == nil {
				l.Release()
			}
			time.Sleep(2 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := open(t, Config{TTL: time.Minute, Stale: time.Hour, Judge: judge})
				new(machine).plugInto(c)
				s := newService()
				s.number(t, c)
				time.Sleep(2 * time.Minute)
				if st := c.Stats(); st.Stale != 1 {
					t.Fatalf("%+v", st)
				}
				purge(c)
				s.will(0, errAway)
				if _, _, _, err := s.number(t, c); !errors.Is(err, errAway) {
					t.Errorf("%v", err)
				}
				if st := c.Stats(); st.Entries != 0 || st.Stale != 0 || st.Bytes != 0 || st.Purged != 1 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestStaleLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute, Stale: 30 * time.Second, Judge: judge})
		new(machine).plugInto(c)
		s := newService()
		s.number(t, c)
		time.Sleep(70 * time.Second)
		s.will(0, errAway)
		l := mustGet(t, c, key(1), LoaderFunc(s.load))
		if !l.Stale() || l.Hit() || l.Left() != 20*time.Second || !errors.Is(l.Trouble(), errAway) {
			t.Errorf("stale %v, hit %v, %v left, %v", l.Stale(), l.Hit(), l.Left(), l.Trouble())
		}
		time.Sleep(time.Minute)
		if l.Left() != 0 || l.Bytes()[0] != 1 {
			t.Error("the lease did not hold")
		}
		l.Release()
		if st := c.Stats(); st.Bytes != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A failure that is remembered for longer than what is stale is served without
// another load withholds nothing.
func TestStaleWhileTheFailureIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Second, Stale: time.Hour, Judge: judge, Remember: func(error) time.Duration { return 5 * time.Second }})
		mustGet(t, c, key(1), give([]byte("x"))).Release()
		time.Sleep(2 * time.Second)
		loads := 0
		for range 20 {
			l := mustGet(t, c, key(1), LoaderFunc(func(context.Context) (Loaded, error) {
				loads++
				return Loaded{}, errAway
			}))
			if !l.Stale() {
				t.Error("not stale")
			}
			l.Release()
			time.Sleep(500 * time.Millisecond)
		}
		if loads != 2 {
			t.Errorf("%d loads in 10 s", loads)
		}
	})
}
