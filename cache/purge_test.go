package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPurge(t *testing.T) {
	c := open(t, Config{})
	for i := range 6 {
		mustGet(t, c, key(i), LoaderFunc(func(context.Context) (Loaded, error) {
			return Loaded{Plaintext: []byte("x"), Group: fmt.Sprint(i % 2)}, nil
		})).Release()
	}
	alive := func() (s string) {
		for i := range 6 {
			if has(t, c, key(i)) {
				s += fmt.Sprint(i)
			}
		}
		return s
	}
	c.Purge(key(0))
	c.Purge(key(99))
	if got := alive(); got != "12345" {
		t.Errorf("Purge: %s", got)
	}
	c.PurgeGroup("1")
	c.PurgeGroup("none")
	if got := alive(); got != "24" {
		t.Errorf("PurgeGroup: %s", got)
	}
	c.PurgeAll()
	if got := alive(); got != "" || c.Stats().Purged != 6 || len(c.groups) != 0 {
		t.Errorf("PurgeAll: %s, %+v", got, c.Stats())
	}
}

// A Loader that is refused ends what is there before it returns: nobody gets it
// in between, and who waits for the load gets its answer.
func TestRefuse(t *testing.T) {
	c := open(t, Config{TTL: time.Hour, Stale: time.Hour, Judge: func(error) Trouble { return Refused }})
	mustGet(t, c, key(1), give([]byte("x"))).Release()
	c.mu.Lock()
	e, _ := c.kept.Peek(key(1))
	e.reloader = &reload{t.Context(), LoaderFunc(func(context.Context) (Loaded, error) {
		c.Refuse(key(1))
		if s := c.Stats(); s.Entries != 0 || s.Wiped != 1 || s.Loading != 1 {
			t.Errorf("%+v", s)
		}
		return Loaded{}, errRefused
	})}
	c.reload(e, c.advance())
	going := c.loading[key(1)]
	c.mu.Unlock()
	<-going.done
	if !errors.Is(going.err, errRefused) {
		t.Error(going.err)
	}
	if s := c.Stats(); s.Purged != 1 {
		t.Errorf("%+v", s)
	}
}

// The answer of a load may be older than the purge: it is neither kept nor
// served, and who waits asks again.
func TestPurgeDuringLoad(t *testing.T) {
	for name, purge := range map[string]func(*Cache){
		"key":   func(c *Cache) { c.Purge(key(1)) },
		"group": func(c *Cache) { c.PurgeGroup("g") },
		"all":   func(c *Cache) { c.PurgeAll() },
		"many groups": func(c *Cache) {
			for i := range maxPurges + 1 {
				c.PurgeGroup(fmt.Sprint(i))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := open(t, Config{})
				disabled := false
				load := LoaderFunc(func(ctx context.Context) (Loaded, error) {
					if disabled {
						return Loaded{}, errRefused
					}
					time.Sleep(time.Second) // deaf to ctx: the worst case
					return Loaded{Plaintext: []byte("before the refusal"), Group: "g"}, nil
				})
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						if _, err := c.Get(t.Context(), key(1), load); err != errRefused {
							t.Errorf("got %v, want the new answer", err)
						}
					})
				}
				synctest.Wait()
				disabled = true
				purge(c)
				wg.Wait()
				time.Sleep(2 * time.Second)
				if s := c.Stats(); s.Entries != 0 || s.Bytes != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestPurgeOfAnotherGroupDuringLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{})
		c.PurgeGroup("g") // before the load: no matter
		time.AfterFunc(time.Second, func() { c.PurgeGroup("other") })
		mustGet(t, c, key(1), LoaderFunc(func(context.Context) (Loaded, error) {
			time.Sleep(2 * time.Second)
			return Loaded{Plaintext: []byte("x"), Group: "g"}, nil
		})).Release()
		if !has(t, c, key(1)) {
			t.Error("not kept")
		}
	})
}

func TestPurgeOverAndOver(t *testing.T) {
	c := open(t, Config{})
	calls := 0
	_, err := c.Get(t.Context(), key(1), LoaderFunc(func(context.Context) (Loaded, error) {
		calls++
		c.PurgeGroup("g")
		return Loaded{Plaintext: []byte("x"), Group: "g"}, nil
	}))
	if !errors.Is(err, ErrPurged) || calls != maxAttempts {
		t.Errorf("%v after %d loads", err, calls)
	}
}
