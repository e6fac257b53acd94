package gate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

// Real threads: whatever meets whatever, nothing is left behind.
func TestGateStress(t *testing.T) {
	var inFlight atomic.Int64
	g := service(func(ctx context.Context, _ string, _ int) error {
		if n := inFlight.Add(1); n > 8 {
			t.Errorf("%d in flight", n)
		}
		defer inFlight.Add(-1)
		switch rand.IntN(8) {
		case 0:
			return errLost
		case 1:
			return errDenied
		case 2:
			return errThrottled
		case 3:
			return latency(ctx, time.Duration(rand.IntN(2000))*time.Microsecond)
		}
		return nil
	}).gate(Config{QPS: 20_000, Burst: 5, InFlight: 8, Attempt: time.Millisecond})
	var wg sync.WaitGroup
	for uid := range uint32(16) {
		wg.Go(func() {
			for i := range 200 {
				load := kms.WithCaller(context.Background(), uid)
				ctx, cancel := context.WithTimeout(load, time.Duration(rand.IntN(3000))*time.Microsecond)
				wg.Go(func() { kms.CallersOf(ctx).AddCaller(uid + 1) })
				_, err := g.Decrypt(ctx, kms.Blob{Text: fmt.Sprint(uid, i%7)}, nil)
				if err != nil && !errors.Is(err, kms.ErrTransient) && !errors.Is(err, kms.ErrDenied) {
					t.Errorf("%v", err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	idle(t, g)
}
