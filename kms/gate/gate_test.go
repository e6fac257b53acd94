package gate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

// service is a Decrypter of a test: what it does with the nth call for a text.
type service func(ctx context.Context, text string, n int) error

func (s service) gate(cfg Config) *Gate {
	var mu sync.Mutex
	seen := map[string]int{}
	return New(decrypterFunc(func(ctx context.Context, b kms.Blob, _ kms.EncryptionContext) (*kms.Decrypted, error) {
		mu.Lock()
		seen[b.Text]++
		n := seen[b.Text]
		mu.Unlock()
		if err := s(ctx, b.Text, n); err != nil {
			return nil, err
		}
		return &kms.Decrypted{Plaintext: []byte(b.Text)}, nil
	}), cfg)
}

type decrypterFunc func(context.Context, kms.Blob, kms.EncryptionContext) (*kms.Decrypted, error)

func (f decrypterFunc) Decrypt(ctx context.Context, b kms.Blob, ec kms.EncryptionContext) (*kms.Decrypted, error) {
	return f(ctx, b, ec)
}

// open does what a load of the cache does: a caller's name, no cancellation,
// a deadline.
func open(g *Gate, uid uint32, text string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(kms.WithCaller(context.Background(), uid)), 10*time.Second)
	defer cancel()
	_, err := g.Decrypt(ctx, kms.Blob{Text: text}, nil)
	return err
}

func latency(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return &kms.Error{Class: kms.ErrTransient, Action: "Decrypt", Detail: "hung", Cause: ctx.Err()}
	}
}

func hang(ctx context.Context, _ string, _ int) error { return latency(ctx, time.Hour) }

var (
	errLost      = &kms.Error{Class: kms.ErrTransient, Action: "Decrypt", Detail: "connection refused"}
	errUnreached = &kms.Error{Class: kms.ErrTransient, Action: "Decrypt", Detail: "connection refused", Unreached: true}
	errInternal  = &kms.Error{Class: kms.ErrTransient, Action: "Decrypt", Code: "InternalFailure", Status: 500, RequestID: "r"}
	errThrottled = &kms.Error{Class: kms.ErrTransient, Action: "Decrypt", Code: "Rejected.Throttling", Status: 429, Detail: "throttled"}
	errOther     = &kms.Error{Class: kms.ErrTransient, Action: "Decrypt", Code: "Throttling.User", Status: 400, Detail: "throttled"}
	errDenied    = &kms.Error{Class: kms.ErrDenied, Action: "Decrypt", Code: "Forbidden.RAM", Status: 403}
	errDamaged   = &kms.Error{Class: kms.ErrBadCiphertext, Action: "Decrypt", Code: "InvalidParameter", Status: 400}
)

// flood starts n loads of one uid and waits until all of them stand in line or
// are under way.
func flood(g *Gate, wg *sync.WaitGroup, uid uint32, n int, each func(error)) {
	for i := range n {
		wg.Go(func() { each(open(g, uid, fmt.Sprintf("flood-%d-%d", uid, i))) })
	}
	synctest.Wait()
}

// The claim: one uid flooding 10,000 cold opens cannot keep root's open waiting
// beyond 2 s, and no flood makes more calls than the rate allows.
func TestFloodDoesNotDelayRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		g := service(func(ctx context.Context, _ string, _ int) error {
			calls.Add(1)
			return latency(ctx, 20*time.Millisecond)
		}).gate(Config{QPS: 50})
		begun := time.Now()
		var wg sync.WaitGroup
		var served, late atomic.Int64
		flood(g, &wg, 1000, 10_000, func(err error) {
			switch {
			case err == nil:
				served.Add(1)
			case errors.Is(err, kms.ErrTransient) && errors.Is(err, context.DeadlineExceeded):
				late.Add(1)
			default:
				t.Errorf("a load of the flood: %v", err)
			}
		})
		if w := g.Stats().Waiting; w < 9_900 {
			t.Errorf("only %d wait", w)
		}
		for i := range 80 {
			at := time.Now()
			if err := open(g, 0, fmt.Sprintf("root-%d", i)); err != nil || time.Since(at) > 200*time.Millisecond {
				t.Errorf("root's open %d took %v: %v", i, time.Since(at), err)
			}
			time.Sleep(73 * time.Millisecond)
			if n, most := calls.Load(), 50*time.Since(begun).Seconds()+50; float64(n) > most {
				t.Fatalf("%d calls after %v", n, time.Since(begun))
			}
		}
		wg.Wait()
		if n := served.Load(); n < 400 || n+late.Load() != 10_000 || time.Since(begun) > 10*time.Second {
			t.Errorf("%d served and %d late after %v", n, late.Load(), time.Since(begun))
		}
		idle(t, g)
	})
}

// A file that a flood has asked for before is not root's to wait for either.
func TestJoinLeavesTheFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := service(func(ctx context.Context, _ string, _ int) error {
			return latency(ctx, 20*time.Millisecond)
		}).gate(Config{QPS: 50})
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		for i := range 10_000 {
			wg.Go(func() { _, _ = g.Decrypt(kms.WithCaller(ctx, 1000), kms.Blob{Text: fmt.Sprint(i)}, nil) })
		}
		synctest.Wait()
		load := kms.WithCaller(ctx, 1000)
		done := make(chan error)
		go func() {
			_, err := g.Decrypt(load, kms.Blob{Text: "wanted"}, nil)
			done <- err
		}()
		synctest.Wait()
		begun := time.Now()
		kms.CallersOf(load).AddCaller(0)
		if err := <-done; err != nil || time.Since(begun) > 200*time.Millisecond {
			t.Errorf("took %v: %v", time.Since(begun), err)
		}
		// The one who started it, and a load that is over.
		kms.CallersOf(load).AddCaller(kms.CallersOf(load).First())
		kms.CallersOf(load).AddCaller(7)
		cancel()
		wg.Wait()
		idle(t, g)
	})
}

// A service that hangs on one uid's files holds half of the slots, never all.
func TestHangingFilesLeaveSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := service(func(ctx context.Context, text string, n int) error {
			if text[0] == 'f' {
				return hang(ctx, text, n)
			}
			return latency(ctx, 20*time.Millisecond)
		}).gate(Config{QPS: 1000})
		var wg sync.WaitGroup
		for uid := range uint32(4) { // four of them at once
			flood(g, &wg, 1000+uid, 2000, func(error) {})
		}
		if n := g.Stats().InFlight; n != 16+8+4+2 {
			t.Errorf("%d in flight", n)
		}
		for i := range 400 { // over all ten seconds
			begun := time.Now()
			if err := open(g, 0, fmt.Sprint(i)); err != nil || time.Since(begun) > 100*time.Millisecond {
				t.Fatalf("root's open %d took %v: %v", i, time.Since(begun), err)
			}
		}
		wg.Wait()
		idle(t, g)
	})
}

// A planted blob that the service fails on is opened a hundred times a second;
// the fifty good files beside it, of the same uid, do not notice.
func TestBadFileDoesNotDelayNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bad atomic.Int64
		g := service(func(ctx context.Context, text string, _ int) error {
			if text == "bad" {
				bad.Add(1)
				return errInternal
			}
			return latency(ctx, 10*time.Millisecond)
		}).gate(Config{QPS: 50})
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 1000 { // one at a time: the cache has single flight
				if err := open(g, 1000, "bad"); !errors.Is(err, kms.ErrTransient) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the bad file: %v", err)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
		for i := range 50 {
			wg.Go(func() {
				for range 10 {
					begun := time.Now()
					if err := open(g, 1000, fmt.Sprint(i)); err != nil || time.Since(begun) > 1500*time.Millisecond {
						t.Errorf("a good file took %v: %v", time.Since(begun), err)
					}
					time.Sleep(2 * time.Second)
				}
			})
		}
		begun := time.Now()
		wg.Wait()
		if n, most := bad.Load(), int64(3*time.Since(begun).Seconds()); n > most {
			t.Errorf("the bad file cost %d calls in %v", n, time.Since(begun))
		}
		if s := g.Stats(); s.Opened != 0 || s.Cooled < 500 {
			t.Errorf("%+v", s)
		}
	})
}

// Nothing is left behind: no slot, no waiter, no line.
func idle(t *testing.T, g *Gate) {
	t.Helper()
	s := g.Stats()
	if s.Waiting != 0 || s.InFlight != 0 || len(g.queue.lines) != 0 || g.queue.ring.Len() != 0 || g.queue.free == 0 {
		t.Errorf("left behind: %+v, %d lines", s, len(g.queue.lines))
	}
}

// Encrypt passes the same gate: its rate, its retries, its breaker.
func TestGateOfEncrypter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := service(func(context.Context, string, int) error { return nil }).gate(Config{QPS: 20})
		var calls atomic.Int64
		e := g.Encrypter(encrypterFunc(func(_ context.Context, key string, plaintext []byte, _ kms.EncryptionContext) (*kms.Encrypted, error) {
			if calls.Add(1)%3 == 0 {
				return nil, errThrottled
			}
			return &kms.Encrypted{Blob: key + string(plaintext)}, nil
		}))
		begun := time.Now()
		for i := range 60 {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			got, err := e.Encrypt(ctx, "k", fmt.Append(nil, i), nil)
			if cancel(); err != nil || got.Blob != fmt.Sprint("k", i) {
				t.Fatalf("%v, %v", got, err)
			}
		}
		if n := calls.Load(); float64(n) > 20*time.Since(begun).Seconds()+20 || g.Stats().Throttled == 0 {
			t.Errorf("%d calls in %v, %+v", n, time.Since(begun), g.Stats())
		}
		idle(t, g)
	})
}

type encrypterFunc func(context.Context, string, []byte, kms.EncryptionContext) (*kms.Encrypted, error)

func (f encrypterFunc) Encrypt(ctx context.Context, keyID string, plaintext []byte, ec kms.EncryptionContext) (*kms.Encrypted, error) {
	return f(ctx, keyID, plaintext, ec)
}

// What is sent within a call costs a token of its own: the requests of all
// stay within the rate, whatever is repeated.
func TestTokensOfRepeatedRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const qps = 10
		var g *Gate
		var mu sync.Mutex
		var sent []time.Time
		send := func() {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, time.Now())
		}
		g = service(func(ctx context.Context, _ string, _ int) error {
			send()
			for range 3 {
				if err := g.Token(ctx); err != nil {
					return &kms.Error{Class: kms.ErrTransient, Action: "Decrypt", Detail: "no turn", Cause: err}
				}
				send()
			}
			return nil
		}).gate(Config{QPS: qps, Burst: qps})
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() { _ = open(g, uint32(i), fmt.Sprint(i)) })
		}
		wg.Wait()
		for i, at := range sent { // from each request on, no window has more than its share
			for j := i; j < len(sent); j++ {
				if n, most := j-i+1, qps*sent[j].Sub(at).Seconds()+qps; float64(n) > most+0.01 {
					t.Fatalf("%d requests within %v", n, sent[j].Sub(at))
				}
			}
		}
		if len(sent) < 60 {
			t.Errorf("%d requests", len(sent))
		}
		idle(t, g)
	})
}
