package cache

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/cache/secmem"
)

func TestConfigIsChecked(t *testing.T) {
	m, err := secmem.New(secmem.Config{Max: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	good := Config{TTL: 1, MaxBytes: 1, LoadTimeout: 1, Memory: m}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Config){
		"TTL":         func(c *Config) { c.TTL = 0 },
		"MaxBytes":    func(c *Config) { c.MaxBytes = -1 },
		"Refresh":     func(c *Config) { c.Refresh = c.TTL },
		"no Refresh":  func(c *Config) { c.Refresh = -1 },
		"Stale":       func(c *Config) { c.Stale = -1 },
		"LoadTimeout": func(c *Config) { c.LoadTimeout = 0 },
		"Memory":      func(c *Config) { c.Memory = nil },
	} {
		bad := good
		spoil(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestHit(t *testing.T) {
	c := open(t, Config{})
	var calls atomic.Int64
	load := loaderOf(&calls, Loaded{Plaintext: []byte("secret"), Origin: "request 1"}, nil)
	for i, hit := range []bool{false, true, true} {
		l := mustGet(t, c, key(1), load)
		if string(l.Bytes()) != "secret" || l.Origin() != "request 1" || l.Hit() != hit {
			t.Errorf("%d: %q, %q, hit %v", i, l.Bytes(), l.Origin(), l.Hit())
		}
		if cap(l.Bytes()) != len(l.Bytes()) {
			t.Errorf("the lease reaches %d bytes beyond the plaintext", cap(l.Bytes())-len(l.Bytes()))
		}
		l.Release()
	}
	if s := c.Stats(); calls.Load() != 1 || s.Hits != 2 || s.Misses != 1 || s.Loads != 1 || s.Bytes != 64 {
		t.Errorf("%d calls, %+v", calls.Load(), s)
	}
}

func TestEmptyPlaintext(t *testing.T) {
	c := open(t, Config{})
	l := mustGet(t, c, key(1), give(nil))
	if len(l.Bytes()) != 0 {
		t.Errorf("%q", l.Bytes())
	}
	l.Release()
	if !has(t, c, key(1)) {
		t.Error("not kept")
	}
	if s := c.Stats(); s.Bytes == 0 {
		t.Error("any number of empty plaintexts would fit")
	}
}

func TestReleaseTwicePanics(t *testing.T) {
	c := open(t, Config{})
	l := mustGet(t, c, key(1), give([]byte("x")))
	l.Release()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	l.Release()
}

// The least recently used goes first, one that is read stays, and dead bytes
// under a lease still count.
func TestByteBound(t *testing.T) {
	c := open(t, Config{MaxBytes: 4096})
	for i := range 4 {
		mustGet(t, c, key(i), give(pattern(key(i), 1000))).Release()
	}
	if s := c.Stats(); s.Bytes != 4096 || s.Entries != 4 {
		t.Fatalf("%+v", s)
	}
	has(t, c, key(0)) // used: 1 is the oldest now
	held := mustGet(t, c, key(2), give(nil))
	mustGet(t, c, key(4), give(pattern(key(4), 1000))).Release() // evicts 1
	if has(t, c, key(1)) || !has(t, c, key(0)) || !has(t, c, key(2)) {
		t.Error("not the one used longest ago was evicted")
	}
	c.Purge(key(2)) // dead, but read
	checkPattern(t, key(2), held.Bytes())
	if s := c.Stats(); s.Bytes != 4096 || s.Entries != 3 {
		t.Errorf("dead bytes under a lease do not count: %+v", s)
	}
	// All of the rest fits only without the lease.
	if _, err := c.Get(t.Context(), key(5), give(pattern(key(5), 4096))); !errors.Is(err, ErrFull) {
		t.Errorf("%v, want ErrFull", err)
	}
	checkPattern(t, key(2), held.Bytes())
	held.Release()
	mustGet(t, c, key(5), give(pattern(key(5), 4096))).Release()
}

func TestTooLarge(t *testing.T) {
	c := open(t, Config{MaxBytes: 4096})
	mustGet(t, c, key(1), give([]byte("x"))).Release()
	if _, err := c.Get(t.Context(), key(2), give(make([]byte, 4097))); !errors.Is(err, ErrFull) {
		t.Errorf("%v, want ErrFull", err)
	}
	if !has(t, c, key(1)) {
		t.Error("what can never fit evicted something")
	}
}

// An arena in pieces is no reason to fail while something can be evicted.
func TestFragments(t *testing.T) {
	m, err := secmem.New(secmem.Config{Max: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, Config{MaxBytes: 1 << 20, Memory: m})
	if s := c.Stats(); s.Max != 64<<10 {
		t.Errorf("the arena's bound is not the cache's: %+v", s)
	}
	for i := range 16 {
		mustGet(t, c, key(i), give(pattern(key(i), 4096))).Release()
	}
	for i := 0; i < 16; i += 2 {
		c.Purge(key(i)) // half of it is free, and every other page
	}
	l := mustGet(t, c, key(99), give(pattern(key(99), 32<<10)))
	checkPattern(t, key(99), l.Bytes())
	l.Release()
}

func TestFailedLoad(t *testing.T) {
	transient := errors.New("transient")
	c := open(t, Config{Remember: func(err error) time.Duration {
		if errors.Is(err, errRefused) {
			return time.Minute
		}
		return 0
	}})
	var calls atomic.Int64
	for range 3 {
		if _, err := c.Get(t.Context(), key(1), loaderOf(&calls, Loaded{}, transient)); err != transient {
			t.Fatal(err)
		}
	}
	if calls.Load() != 3 {
		t.Errorf("%d calls: a transient failure was remembered", calls.Load())
	}
	calls.Store(0)
	refuse := loaderOf(&calls, Loaded{Plaintext: []byte("half")}, errRefused)
	for range 3 {
		if _, err := c.Get(t.Context(), key(2), refuse); err != errRefused {
			t.Fatal(err)
		}
	}
	if s := c.Stats(); calls.Load() != 1 || s.Remembered != 2 || s.LoadErrors != 4 || s.Bytes != 0 {
		t.Errorf("%d calls, %+v", calls.Load(), s)
	}
	if !has(t, c, key(3)) && c.failed.Len() != 1 {
		t.Error("a failure crossed to another key")
	}
	c.Purge(key(2))
	mustGet(t, c, key(2), give([]byte("now"))).Release()
}

func TestRememberedFailuresAreBounded(t *testing.T) {
	c := open(t, Config{Remember: func(error) time.Duration { return time.Hour }})
	for i := range maxFailures + 100 {
		_, _ = c.Get(t.Context(), key(i), loaderOf(new(atomic.Int64), Loaded{}, errRefused))
	}
	if n := c.failed.Len(); n != maxFailures {
		t.Errorf("%d are remembered", n)
	}
}

func TestPanicInLoad(t *testing.T) {
	c := open(t, Config{})
	_, err := c.Get(t.Context(), key(1), LoaderFunc(func(context.Context) (Loaded, error) { panic("the plaintext") }))
	if err == nil || bytes.Contains([]byte(err.Error()), []byte("plaintext")) {
		t.Errorf("%v", err)
	}
	mustGet(t, c, key(1), give([]byte("x"))).Release()
}

func TestClosed(t *testing.T) {
	c := open(t, Config{})
	l := mustGet(t, c, key(1), give([]byte("held")))
	c.Close()
	if _, err := c.Get(t.Context(), key(1), give(nil)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if string(l.Bytes()) != "held" {
		t.Error("leased memory was wiped")
	}
	l.Release()
}
