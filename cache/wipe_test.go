package cache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Each way out of the cache, seen in the arena's memory: bytes taken from a
// lease point into it, and a second arena user keeps it mapped.
func TestWiped(t *testing.T) {
	ways := map[string]func(*Cache){
		"expiry":     func(*Cache) { time.Sleep(time.Minute); synctest.Wait() },
		"eviction":   func(c *Cache) { c.mu.Lock(); defer c.mu.Unlock(); c.evictAny() },
		"Purge":      func(c *Cache) { c.Purge(key(1)) },
		"PurgeGroup": func(c *Cache) { c.PurgeGroup("g") },
		"PurgeAll":   func(c *Cache) { c.PurgeAll() },
		"Close":      func(c *Cache) { c.Close() },
	}
	for name, out := range ways {
		for _, leased := range []bool{false, true} {
			if leased && name == "eviction" {
				continue // what is leased is not evicted
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := open(t, Config{TTL: time.Minute})
					pin, err := c.memory.Alloc(1)
					if err != nil {
						t.Fatal(err)
					}
					defer c.memory.Free(pin)
					loaded := pattern(key(1), 1700)
					l := mustGet(t, c, key(1), LoaderFunc(func(context.Context) (Loaded, error) {
						return Loaded{Plaintext: loaded[:1600], Group: "g"}, nil
					}))
					inArena := l.Bytes()
					if !allZero(loaded) {
						t.Error("what the Loader brought was not wiped up to its capacity")
					}
					if !leased {
						l.Release()
					}
					checkPattern(t, key(1), inArena)
					out(c)
					if leased {
						checkPattern(t, key(1), inArena)
						l.Release()
					}
					if !allZero(inArena) {
						t.Errorf("leased %v: still in memory", leased)
					}
				})
			})
		}
	}
}

func TestWipedAfterFailedLoad(t *testing.T) {
	c := open(t, Config{})
	half := pattern(key(1), 100)
	_, err := c.Get(t.Context(), key(1), LoaderFunc(func(context.Context) (Loaded, error) {
		return Loaded{Plaintext: half}, errRefused
	}))
	if err != errRefused || !allZero(half) {
		t.Errorf("%v, wiped %v", err, allZero(half))
	}
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
