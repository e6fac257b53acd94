package gate

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

// What a gate adds to a call that need not wait.
func BenchmarkGateUncontended(b *testing.B) {
	answer := &kms.Decrypted{}
	g := New(decrypterFunc(func(context.Context, kms.Blob, kms.EncryptionContext) (*kms.Decrypted, error) { return answer, nil }),
		Config{QPS: 1e9})
	blob := kms.Blob{Text: strings.Repeat("x", 2400)}
	ctx, cancel := context.WithTimeout(kms.WithCaller(context.Background(), 0), time.Hour)
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Decrypt(ctx, blob, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// What it costs to get through a line of ten thousand.
func BenchmarkGateCrowded(b *testing.B) {
	q := newQueue(Config{InFlight: 1})
	slot, _ := q.acquire(context.Background(), nil)
	for uid := range uint32(10_000) {
		if _, err := q.enter(uid % 100); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		w, err := q.enter(1)
		if err != nil {
			b.Fatal(err)
		}
		q.mu.Lock()
		q.leave(w)
		q.mu.Unlock()
	}
	q.release(slot)
}
