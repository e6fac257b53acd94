package cache

import (
	"context"
	"testing"
	"time"
)

func BenchmarkHit(b *testing.B) {
	c := open(b, Config{TTL: time.Hour})
	ctx, load := context.Background(), give(make([]byte, 1700))
	b.ReportAllocs()
	for b.Loop() {
		l, err := c.Get(ctx, key(1), load)
		if err != nil {
			b.Fatal(err)
		}
		l.Release()
	}
}

func BenchmarkHitParallel(b *testing.B) {
	c := open(b, Config{TTL: time.Hour})
	ctx, load := context.Background(), give(make([]byte, 1700))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if l, err := c.Get(ctx, key(1), load); err == nil {
				l.Release()
			}
		}
	})
}

// A miss, its load, and the eviction that makes room for it.
func BenchmarkLoad(b *testing.B) {
	c := open(b, Config{TTL: time.Hour})
	ctx, load := context.Background(), give(make([]byte, 1700))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		l, err := c.Get(ctx, key(n), load)
		if err != nil {
			b.Fatal(err)
		}
		l.Release()
	}
}
