package cache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// machine is a computer whose clocks a test can set. The bubble's clock is
// its monotonic one.
type machine struct {
	start        time.Time
	asleep, step time.Duration
}

func (m *machine) plugInto(c *Cache) {
	m.start = time.Now()
	c.clock.readBoot = func() int64 { return int64(time.Hour + time.Since(m.start) + m.asleep) }
	c.clock.readWall = func(t time.Time) int64 { return t.UnixNano() + int64(m.asleep+m.step) }
}

func (m *machine) tamper(c *Cache, f func(*machine)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(m)
}

func TestTTLIsHard(t *testing.T) {
	for _, realBoot := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := open(t, Config{TTL: time.Minute})
			if !realBoot {
				new(machine).plugInto(c)
			}
			held := mustGet(t, c, key(1), LoaderFunc(func(context.Context) (Loaded, error) {
				time.Sleep(5 * time.Second)
				return Loaded{Plaintext: pattern(key(1), 100)}, nil
			}))
			time.Sleep(20 * time.Second)
			if !has(t, c, key(1)) { // use does not stretch it
				t.Error("dead too early")
			}
			time.Sleep(35*time.Second - time.Millisecond)
			if !has(t, c, key(1)) {
				t.Error("dead too early")
			}
			time.Sleep(time.Millisecond)
			if has(t, c, key(1)) {
				t.Error("served when the TTL was over")
			}
			checkPattern(t, key(1), held.Bytes())
			held.Release()
			if s := c.Stats(); s.Expired != 1 || s.Bytes != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A suspended machine, and a wall clock that jumps either way.
func TestEitherClockKills(t *testing.T) {
	for name, tc := range map[string]struct {
		tamper func(*machine)
		after  time.Duration // of running time, since the load
		alive  bool
	}{
		"nothing":                      {func(*machine) {}, 59 * time.Second, true},
		"asleep for the TTL":           {func(m *machine) { m.asleep = time.Minute }, 2 * time.Millisecond, false},
		"asleep for less":              {func(m *machine) { m.asleep = 30 * time.Second }, 29 * time.Second, true},
		"asleep and then awake":        {func(m *machine) { m.asleep = 30 * time.Second }, 30 * time.Second, false},
		"asleep with the clock undone": {func(m *machine) { m.asleep, m.step = time.Minute, -time.Minute }, 2 * time.Millisecond, false},
		"set back":                     {func(m *machine) { m.step = -time.Hour }, 59 * time.Second, true},
		"set back does not stretch":    {func(m *machine) { m.step = -time.Hour }, time.Minute, false},
		"set back a little":            {func(m *machine) { m.step = -9 * time.Millisecond }, time.Minute, false},
		"set forward":                  {func(m *machine) { m.step = time.Minute }, 0, false},
		"set forward by half":          {func(m *machine) { m.step = 30 * time.Second }, 30 * time.Second, false},
		"a frozen virtual machine":     {func(m *machine) { m.step = time.Hour }, 0, false},
		"drift below maxSkew":          {func(m *machine) { m.step = 5 * time.Millisecond }, 59*time.Second + 995*time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := open(t, Config{TTL: time.Minute})
				var m machine
				m.plugInto(c)
				mustGet(t, c, key(1), give([]byte("x"))).Release()
				m.tamper(c, tc.tamper)
				time.Sleep(tc.after)
				if alive := has(t, c, key(1)); alive != tc.alive {
					t.Errorf("alive: %v", alive)
				}
			})
		})
	}
}

// The first call after a resume buries all that died, not only what it asked
// for.
func TestAnyCallBuriesTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute})
		var m machine
		m.plugInto(c)
		for i := range 10 {
			mustGet(t, c, key(i), give([]byte("x"))).Release()
		}
		m.tamper(c, func(m *machine) { m.asleep = time.Hour })
		time.Sleep(2 * time.Millisecond)
		has(t, c, key(99))
		if s := c.Stats(); s.Entries != 0 || s.Wiped != 10 {
			t.Errorf("%+v", s)
		}
	})
}

// The timer stands still in suspend: the first call after it sets it anew.
func TestTimerAfterSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute})
		var m machine
		m.plugInto(c)
		mustGet(t, c, key(1), give([]byte("x"))).Release()
		m.tamper(c, func(m *machine) { m.asleep = 30 * time.Second })
		time.Sleep(2 * time.Millisecond)
		has(t, c, key(1))
		time.Sleep(30*time.Second - 2*time.Millisecond)
		synctest.Wait()
		if s := c.Stats(); s.Wiped != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Settings of the wall clock may turn the order of deaths around.
func TestTimerAfterClockWasSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute})
		var m machine
		m.plugInto(c)
		set := func(d time.Duration) {
			m.tamper(c, func(m *machine) { m.step = d })
			has(t, c, key(99)) // any call notices
		}
		mustGet(t, c, key(1), give([]byte("x"))).Release()
		set(-20 * time.Second)
		time.Sleep(5 * time.Second)
		mustGet(t, c, key(2), give([]byte("x"))).Release()
		set(20 * time.Second) // 1 is 25 s old by now, and 2 is 40 s old
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if s := c.Stats(); s.Wiped != 1 || has(t, c, key(2)) || !has(t, c, key(1)) {
			t.Errorf("%+v", s)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if s := c.Stats(); s.Wiped != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute})
		var m machine
		m.plugInto(c)
		l := mustGet(t, c, key(1), give([]byte("x")))
		defer l.Release()
		for _, want := range []time.Duration{time.Minute, 35 * time.Second, 10 * time.Second, 0} {
			if got := l.Left(); got != want {
				t.Errorf("%v left, want %v", got, want)
			}
			time.Sleep(25 * time.Second)
		}
	})
}

// What was purged or replaced has nothing left, whoever reads it.
func TestTheDeadHaveNothingLeft(t *testing.T) {
	c := open(t, Config{})
	l := mustGet(t, c, key(1), give([]byte("x")))
	defer l.Release()
	if l.Left() == 0 || l.RefreshIn() == 0 {
		t.Fatal("dead from the start")
	}
	c.Purge(key(1))
	if l.Left() != 0 || l.RefreshIn() != 0 {
		t.Errorf("%v left, ages in %v", l.Left(), l.RefreshIn())
	}
}

// After a suspend no timer is due yet: Expire wipes all the same.
func TestExpireAfterSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute})
		var m machine
		m.plugInto(c)
		mustGet(t, c, key(1), give([]byte("x"))).Release()
		m.tamper(c, func(m *machine) { m.asleep = time.Hour })
		time.Sleep(2 * bootEvery)
		c.Expire()
		if s := c.Stats(); s.Entries != 0 || s.Wiped != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// What died unseen makes room before anything that lives.
func TestTheDeadGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute, MaxBytes: 128})
		var m machine
		m.plugInto(c)
		mustGet(t, c, key(1), give([]byte("x"))).Release()
		time.Sleep(30 * time.Second)
		mustGet(t, c, key(2), give([]byte("x"))).Release()
		has(t, c, key(1)) // the older one was used last
		mustGet(t, c, key(3), LoaderFunc(func(context.Context) (Loaded, error) {
			m.tamper(c, func(m *machine) { m.asleep = 30 * time.Second })
			time.Sleep(2 * time.Millisecond)
			return Loaded{Plaintext: []byte("x")}, nil
		})).Release()
		if s := c.Stats(); s.Evictions != 0 || s.Expired != 1 || !has(t, c, key(2)) {
			t.Errorf("%+v", s)
		}
	})
}

// The timer alone wipes each entry on time; none is armed when nothing lives.
func TestTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute})
		new(machine).plugInto(c)
		if c.expiry.timer != nil {
			t.Error("a timer without an entry")
		}
		for i := range 10 {
			mustGet(t, c, key(i), give([]byte("x"))).Release()
			time.Sleep(time.Second)
		}
		time.Sleep(50 * time.Second)
		for i := range 10 {
			synctest.Wait()
			if s := c.Stats(); s.Wiped != uint64(i+1) || s.Entries != 9-i {
				t.Errorf("second %d: %+v", 60+i, s)
			}
			time.Sleep(time.Second)
		}
		if !c.expiry.armed.IsZero() || c.expiry.timer.Stop() {
			t.Error("armed without an entry")
		}
		mustGet(t, c, key(1), give([]byte("x"))).Release()
		c.Purge(key(1))
		if !c.expiry.armed.IsZero() || c.expiry.timer.Stop() {
			t.Error("armed without an entry")
		}
	})
}

// What was made from another plaintext dies with it.
func TestDerivedDiesWithItsSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{TTL: time.Minute})
		new(machine).plugInto(c)
		derive := LoaderFunc(func(ctx context.Context) (Loaded, error) {
			source, err := c.Get(ctx, key(1), give([]byte("data key")))
			if err != nil {
				return Loaded{}, err
			}
			defer source.Release()
			return Loaded{Plaintext: []byte("body"), Since: source.Since()}, nil
		})
		mustGet(t, c, key(1), give([]byte("data key"))).Release()
		time.Sleep(59 * time.Second)
		mustGet(t, c, key(2), derive).Release()
		if !has(t, c, key(2)) {
			t.Error("not kept")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if s := c.Stats(); s.Entries != 0 || s.Wiped != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestRememberedFailureEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{Remember: func(error) time.Duration { return 5 * time.Second }})
		var m machine
		m.plugInto(c)
		fails := func() bool {
			l, err := c.Get(t.Context(), key(1), give([]byte("x")))
			if err == nil {
				l.Release()
				c.Purge(key(1))
			}
			return err != nil
		}
		spoil := func() { has(t, c, key(1)) }
		spoil()
		time.Sleep(4999 * time.Millisecond)
		if !fails() {
			t.Error("forgotten too early")
		}
		time.Sleep(time.Millisecond)
		if fails() {
			t.Error("remembered too long")
		}
		spoil()
		m.tamper(c, func(m *machine) { m.asleep = 5 * time.Second })
		time.Sleep(2 * time.Millisecond)
		if fails() {
			t.Error("a suspend stretched it")
		}
	})
}
