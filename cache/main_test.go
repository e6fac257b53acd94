package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kmsfs/kmsfs/cache/secmem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errRefused = errors.New("refused")

// open returns a cache that is closed, and proven to leave no plaintext
// behind, at the end of the test.
func open(t testing.TB, cfg Config) *Cache {
	t.Helper()
	if cfg.TTL == 0 {
		cfg.TTL = time.Minute
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 1 << 20
	}
	if cfg.LoadTimeout == 0 {
		cfg.LoadTimeout = 10 * time.Second
	}
	if cfg.Memory == nil {
		m, err := secmem.New(secmem.Config{Max: max(cfg.MaxBytes, 1<<20)})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Memory = m
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := cfg.Memory.Close(); err != nil {
			t.Error(err)
		}
		if s := c.Stats(); s.Bytes != 0 || s.Entries != 0 || s.Loading != 0 {
			t.Errorf("after Close: %+v", s)
		}
	})
	return c
}

func key(n int) (k Key) {
	binary.BigEndian.PutUint64(k[:], uint64(n))
	return k
}

// pattern is a plaintext that tells a torn or foreign read: every byte follows
// from the key and its place.
func pattern(k Key, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = k[7] ^ k[6] ^ byte(i*7) | 1 // never 0: that is wiped
	}
	return p
}

func checkPattern(t testing.TB, k Key, got []byte) {
	t.Helper()
	if !bytes.Equal(got, pattern(k, len(got))) {
		t.Errorf("key %d: torn, foreign or wiped plaintext", k[7])
	}
}

// loaderOf counts its calls.
func loaderOf(calls *atomic.Int64, got Loaded, err error) Loader {
	return LoaderFunc(func(context.Context) (Loaded, error) {
		calls.Add(1)
		got := got
		got.Plaintext = bytes.Clone(got.Plaintext)
		return got, err
	})
}

func give(p []byte) Loader { return loaderOf(new(atomic.Int64), Loaded{Plaintext: p}, nil) }

func mustGet(t testing.TB, c *Cache, k Key, load Loader) *Lease {
	t.Helper()
	l, err := c.Get(t.Context(), k, load)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// has says whether k is there without a load.
func has(t testing.TB, c *Cache, k Key) bool {
	t.Helper()
	absent := errors.New("absent")
	l, err := c.Get(context.Background(), k, LoaderFunc(func(context.Context) (Loaded, error) { return Loaded{}, absent }))
	if errors.Is(err, absent) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
	return true
}
