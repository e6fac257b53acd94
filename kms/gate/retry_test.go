package gate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

// Only what is transient is tried again, and never after the caller has gone.
func TestOnlyTransientIsRetried(t *testing.T) {
	for _, class := range []error{kms.ErrTransient, kms.ErrAuthentication, kms.ErrDenied, kms.ErrKeyState, kms.ErrBadCiphertext, kms.ErrBadAnswer, kms.ErrInvalid} {
		synctest.Test(t, func(t *testing.T) {
			failure := &kms.Error{Class: class, Action: "Decrypt", Status: 503}
			g := service(func(_ context.Context, _ string, n int) error {
				if n <= 2 {
					return failure
				}
				return nil
			}).gate(Config{})
			err, s := open(g, 0, "x"), g.Stats()
			if class == kms.ErrTransient && (err != nil || s.Calls != 3 || s.Retries != 2) ||
				class != kms.ErrTransient && (err != failure || s.Calls != 1) {
				t.Errorf("%v: %v, %+v", class, err, s)
			}
		})
	}
}

// Pauses are anything from zero to a bound that doubles, up to the cap; those
// after throttling are longer.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		const draws = 2000
		for _, v := range []verdict{{lost: true}, {answered: true, throttled: true}} {
			for n := range 8 {
				bound := min(retryBase<<n, retryCap)
				shortest, longest, sum := time.Duration(math.MaxInt64), time.Duration(0), time.Duration(0)
				for range draws {
					var r retry
					for range n {
						r.pause(ctx, v)
					}
					d, again := r.pause(ctx, v)
					if !again {
						t.Fatal("gave up")
					}
					if v.throttled {
						d = (d - retryBase) / 2
					}
					shortest, longest, sum = min(shortest, d), max(longest, d), sum+d
				}
				if shortest < 0 || longest > bound || shortest > bound/50 || longest < bound-bound/50 ||
					sum/draws < bound*45/100 || sum/draws > bound*55/100 {
					t.Errorf("%+v, pause %d: %v to %v, mean %v; bound %v", v, n, shortest, longest, sum/draws, bound)
				}
			}
		}
	})
}

// A service that never answers costs the deadline, and the error says that it
// was time: as the gate's own bound, and as a bound of the Decrypter's, whose
// error names no context.
func TestHungServiceTimesOut(t *testing.T) {
	own := func(ctx context.Context, _ string, _ int) error {
		if err := latency(ctx, 2999*time.Millisecond); err != nil {
			return err
		}
		return &kms.Error{Class: kms.ErrTransient, Action: "Decrypt", Detail: "timed out after 3s"}
	}
	bare := func(ctx context.Context, _ string, _ int) error { <-ctx.Done(); return ctx.Err() }
	for name, s := range map[string]service{"the gate's": hang, "the Decrypter's": own, "no Error at all": bare} {
		synctest.Test(t, func(t *testing.T) {
			g := s.gate(Config{QPS: 50})
			begun := time.Now()
			err := open(g, 0, "x")
			took, st := time.Since(begun), g.Stats()
			if !errors.Is(err, kms.ErrTransient) || !errors.Is(err, context.DeadlineExceeded) || took > 10*time.Second || took < 9*time.Second ||
				st.Calls < 3 || st.Calls > 4 || st.Opened != 0 {
				t.Errorf("%s bound: %v: %v, %+v", name, took, err, st)
			}
		})
	}
}

// A caller who leaves ends the attempt and the pause after it.
func TestCallerLeaves(t *testing.T) {
	for name, s := range map[string]service{"attempt": hang, "pause": func(context.Context, string, int) error { return errLost }} {
		synctest.Test(t, func(t *testing.T) {
			g := s.gate(Config{})
			ctx, cancel := context.WithCancel(kms.WithCaller(t.Context(), 1))
			begun := time.Now()
			time.AfterFunc(time.Millisecond, cancel)
			_, err := g.Decrypt(ctx, kms.Blob{Text: "x"}, nil)
			if !errors.Is(err, context.Canceled) || !errors.Is(err, kms.ErrTransient) || time.Since(begun) != time.Millisecond {
				t.Errorf("%s: %v after %v", name, err, time.Since(begun))
			}
			calls := g.Stats().Calls
			if _, err = g.Decrypt(ctx, kms.Blob{Text: "x"}, nil); !errors.Is(err, context.Canceled) || g.Stats().Calls != calls {
				t.Errorf("%s: %v", name, err)
			}
			idle(t, g)
		})
	}
}

// Without a deadline the number of attempts is the bound.
func TestNoDeadline(t *testing.T) {
	for _, failure := range []error{errLost, errThrottled, errInternal, kms.ErrTransient} {
		synctest.Test(t, func(t *testing.T) {
			g := service(func(context.Context, string, int) error { return failure }).gate(Config{})
			if _, err := g.Decrypt(t.Context(), kms.Blob{Text: "x"}, nil); err != failure || g.Stats().Calls != retryAttempts {
				t.Errorf("%v after %d calls", err, g.Stats().Calls)
			}
		})
	}
}

// A ciphertext that the service fails on is left alone for a second after its
// last attempt; how many of them are known is bounded.
func TestCooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := service(func(context.Context, string, int) error { return errInternal }).gate(Config{})
		for range 3 {
			before := g.Stats().Calls
			if err := open(g, 0, "x"); err != errInternal || g.Stats().Calls != before+retryAttempts {
				t.Fatalf("%v after %d calls", err, g.Stats().Calls-before)
			}
			for range 99 {
				time.Sleep(10 * time.Millisecond)
				if err := open(g, 1, "x"); err != errInternal {
					t.Fatal(err)
				}
			}
			if n := g.Stats().Calls; n != before+retryAttempts {
				t.Fatalf("%d calls", n-before)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if s := g.Stats(); s.Cooled != 3*99 {
			t.Errorf("%+v", s)
		}
		for i := range 3 * cooldownMax {
			g.cooldown.remember(content(i), errInternal, time.Now())
		}
		for i := range 3 * cooldownMax {
			if known := g.cooldown.recall(content(i), time.Now()) != nil; known != (i >= 2*cooldownMax) {
				t.Fatalf("content %d: %v", i, known)
			}
		}
	})
	for _, failure := range []error{errLost, errThrottled, errDenied} {
		synctest.Test(t, func(t *testing.T) {
			g := service(func(context.Context, string, int) error { return failure }).gate(Config{})
			_ = open(g, 0, "x")
			before := g.Stats().Calls
			if _ = open(g, 0, "x"); g.Stats().Calls == before {
				t.Errorf("%v is remembered", failure)
			}
		})
	}
}

// Throttling slows the mount down, not below a floor, and passes: every load
// succeeds, and what the service had to refuse is little.
func TestThrottlingIsAbsorbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The account's quota leaves this mount 20 calls a second.
		quota := newPace(20, 5)
		var mu sync.Mutex
		g := service(func(context.Context, string, int) error {
			mu.Lock()
			defer mu.Unlock()
			if quota.take(time.Now()) > 0 {
				return errThrottled
			}
			return nil
		}).gate(Config{QPS: 100})
		var wg sync.WaitGroup
		lowest := 100.0
		for i := range 600 {
			wg.Go(func() {
				if err := open(g, uint32(i%3), fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(60 * time.Millisecond) // 17 a second
			lowest = min(lowest, g.Stats().QPS)
		}
		wg.Wait()
		s := g.Stats()
		if s.Throttled > 200 || lowest < 10 || s.Opened != 0 || s.Cooled != 0 {
			t.Errorf("lowest rate %v; %+v", lowest, s)
		}
		time.Sleep(10 * time.Second)
		if s := g.Stats(); s.QPS != 100 {
			t.Errorf("the rate stays at %v", s.QPS)
		}
		idle(t, g)
	})
	synctest.Test(t, func(t *testing.T) { // all the time
		g := service(func(context.Context, string, int) error { return errOther }).gate(Config{QPS: 50})
		var wg sync.WaitGroup
		begun := time.Now()
		flood(g, &wg, 1, 1000, func(err error) {
			if !errors.Is(err, kms.ErrTransient) || !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		wg.Wait()
		// The burst, then 50, 25, 12, 6 and from then on 5 a second.
		if s := g.Stats(); s.QPS < 5 || s.QPS > 10 || s.Calls > 50+50+25+13+7+6*5 || s.Calls != s.Throttled {
			t.Errorf("after %v: %+v", time.Since(begun), s)
		}
	})
	p := newPace(50, 50)
	if p.throttled(time.Now()); p.take(time.Now()) == 0 || p.rate(time.Now()) != 25 {
		t.Error("a throttled mount spends its burst")
	}
	p = newPace(0, 0)
	p.throttled(time.Now())
	if p.take(time.Now()) != 0 || p.rate(time.Now()) != 0 {
		t.Error("no limit is a limit")
	}
}

// One answer since a load began shows that the service can be reached, and so
// does a load that was called off.
func TestUnreachedLoadBesideAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := service(func(_ context.Context, text string, _ int) error {
			if text == "answered" {
				return nil
			}
			return errUnreached
		}).gate(Config{})
		var wg sync.WaitGroup
		wg.Go(func() { _ = open(g, 0, "unreached") })
		time.Sleep(5 * time.Second)
		if err := open(g, 0, "answered"); err != nil {
			t.Error(err)
		}
		wg.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { _, _ = g.Decrypt(ctx, kms.Blob{Text: "called off"}, nil) })
		time.Sleep(time.Second)
		cancel()
		wg.Wait()
		if s := g.Stats(); s.Opened != 0 {
			t.Errorf("%+v", s)
		}
	})
}
