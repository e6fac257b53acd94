package cache

import (
	"bytes"
	"context"
	"github.com/kmsfs/kmsfs/cache/secmem"
	"testing"
	"time"
)

func TestSmoke(t *testing.T) {
	m, err := secmem.New(secmem.Config{Max: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{TTL: time.Second, MaxBytes: 1 << 20, LoadTimeout: time.Second, Memory: m})
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Get(context.Background(), Key{1}, func(context.Context) (Loaded, error) { return Loaded{Plaintext: []byte("x")}, nil })
	if err != nil || !bytes.Equal(l.Bytes(), []byte("x")) {
		t.Fatal(err)
	}
	l.Release()
	c.Close()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}
func BenchmarkHit(b *testing.B) {
	m, _ := secmem.New(secmem.Config{Max: 1 << 20})
	c, _ := New(Config{TTL: time.Hour, MaxBytes: 1 << 20, LoadTimeout: time.Second, Memory: m})
	load := func(context.Context) (Loaded, error) { return Loaded{Plaintext: make([]byte, 1700)}, nil }
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		l, _ := c.Get(ctx, Key{1}, load)
		l.Release()
	}
}
