package gate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

// once makes one attempt: with half a second left there is no time for more.
func once(g *Gate, text string) error {
	ctx, cancel := context.WithTimeout(kms.WithCaller(context.Background(), 0), retryLeast-1)
	defer cancel()
	_, err := g.Decrypt(ctx, kms.Blob{Text: text}, nil)
	return err
}

// unreachable opens the breaker of a gate whose service is lost.
func unreachable(t *testing.T, g *Gate) {
	t.Helper()
	for i := range breakerContents {
		if s := g.Stats(); s.Breaker != BreakerClosed {
			t.Fatalf("open after %d ciphertexts", i)
		}
		_ = once(g, fmt.Sprint("lost", i))
	}
	if s := g.Stats(); s.Breaker != BreakerOpen || s.Since != time.Now() || s.Opened != 1 {
		t.Fatalf("%+v", s)
	}
}

// The breaker opens on lost calls of three ciphertexts, says so at once to
// everybody, lets one probe through after a pause that grows, and closes with
// the first answer.
func TestBreakerOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		var calls atomic.Int64
		g := service(func(ctx context.Context, _ string, _ int) error {
			calls.Add(1)
			_ = latency(ctx, 10*time.Millisecond)
			if up.Load() {
				return nil
			}
			return errLost
		}).gate(Config{})
		unreachable(t, g)
		begun := time.Now()
		err := open(g, 0, "x")
		if !errors.Is(err, kms.ErrTransient) || errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 0 {
			t.Errorf("took %v: %v", time.Since(begun), err)
		}
		for _, word := range []string{"breaker open since " + g.Stats().Since.Format(time.RFC3339), "gave no answer", "connection refused"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%v does not say %q", err, word)
			}
		}
		// Probes: after 1, 2, 4, 5 and 5 seconds, one each.
		before := calls.Load()
		for _, pause := range []time.Duration{1, 2, 4, 5, 5} {
			time.Sleep(pause*time.Second - time.Millisecond)
			if err := once(g, "early"); err == nil || calls.Load() != before {
				t.Fatalf("a call before %v s", pause)
			}
			time.Sleep(time.Millisecond)
			if s := g.Stats().Breaker; s != BreakerHalfOpen {
				t.Fatalf("%v after %v s", s, pause)
			}
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() { _ = once(g, fmt.Sprint(i)) })
			}
			wg.Wait()
			if before++; calls.Load() != before {
				t.Fatalf("%d calls, want one probe", calls.Load()-before+1)
			}
		}
		up.Store(true)
		time.Sleep(breakerMaxPause)
		if err := once(g, "works"); err != nil || g.Stats().Breaker != BreakerClosed {
			t.Fatalf("%v, %+v", err, g.Stats())
		}
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				if err := once(g, fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		idle(t, g)
	})
}

// What does not open it, however often.
func TestBreakerStaysClosed(t *testing.T) {
	canceled := func(ctx context.Context, _ string, _ int) error { return latency(ctx, time.Hour) }
	for name, c := range map[string]struct {
		s    service
		text func(int) string
	}{
		"one lost file":    {func(context.Context, string, int) error { return errLost }, func(int) string { return "x" }},
		"two lost files":   {func(context.Context, string, int) error { return errLost }, func(i int) string { return fmt.Sprint(i % 2) }},
		"throttling":       {func(context.Context, string, int) error { return errThrottled }, nil},
		"throttling (400)": {func(context.Context, string, int) error { return errOther }, nil},
		"500":              {func(context.Context, string, int) error { return errInternal }, nil},
		"refusals":         {func(context.Context, string, int) error { return errDenied }, nil},
		"bad ciphertexts":  {func(context.Context, string, int) error { return errDamaged }, nil},
		"callers' own end": {canceled, nil},
		"an answer between": {func(_ context.Context, text string, _ int) error {
			if strings.HasSuffix(text, "2") {
				return errDenied
			}
			return errLost
		}, func(i int) string { return fmt.Sprint(i/3, i%3) }},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := c.s.gate(Config{})
			for i := range 60 {
				text := fmt.Sprint(i)
				if c.text != nil {
					text = c.text(i)
				}
				if err := once(g, text); err == nil {
					t.Fatalf("%s: no error", name)
				}
			}
			if s := g.Stats(); s.Opened != 0 || s.Calls != 60 {
				t.Errorf("%s: %+v", name, s)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // too far apart
		g := service(func(context.Context, string, int) error { return errLost }).gate(Config{})
		for i := range 20 {
			_ = once(g, fmt.Sprint(i))
			time.Sleep(g.breaker.window/2 + time.Millisecond)
		}
		if s := g.Stats(); s.Opened != 0 {
			t.Errorf("failures of a minute: %+v", s)
		}
	})
}

// Who stands in line when the breaker opens does not wait for nothing.
func TestBreakerEmptiesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := service(hang).gate(Config{QPS: 1000, InFlight: 8})
		begun := time.Now()
		var wg sync.WaitGroup
		var slow atomic.Int64
		flood(g, &wg, 1, 1000, func(err error) {
			if !errors.Is(err, kms.ErrTransient) {
				t.Error(err)
			}
			if time.Since(begun) > 3*time.Second {
				slow.Add(1)
			}
		})
		wg.Wait()
		if n := slow.Load(); n > 8 || time.Since(begun) > 10*time.Second {
			t.Errorf("%d were slow, the last took %v", n, time.Since(begun))
		}
		if s := g.Stats(); s.Opened != 1 || s.Refused == 0 {
			t.Errorf("%+v", s)
		}
		idle(t, g)
	})
}

// Nor for a token that nobody will use.
func TestBreakerDoesNotWaitForTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := service(func(ctx context.Context, _ string, _ int) error {
			_ = latency(ctx, 100*time.Millisecond)
			return errLost
		}).gate(Config{QPS: 1, Burst: breakerContents})
		begun := time.Now()
		var wg sync.WaitGroup
		var slow atomic.Int64
		flood(g, &wg, 1, 50, func(error) {
			if time.Since(begun) > 100*time.Millisecond {
				slow.Add(1)
			}
		})
		wg.Wait()
		if n := slow.Load(); n > breakerContents { // those who pause before a retry
			t.Errorf("%d were slow", n)
		}
		idle(t, g)
	})
}

// An answer that was under way when the breaker opened closes it. Lost calls
// that began before the last answer say nothing.
func TestBreakerAndLateOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := service(func(ctx context.Context, text string, _ int) error {
			switch text[0] {
			case 'l':
				return errLost
			case 's': // slow
				return latency(ctx, 500*time.Millisecond)
			}
			return latency(ctx, time.Hour) // times out after 3 s
		}).gate(Config{})
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := open(g, 0, "slow"); err != nil {
				t.Error(err)
			}
		})
		for i := range 5 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second+retryLeast)
				defer cancel()
				_, _ = g.Decrypt(ctx, kms.Blob{Text: fmt.Sprint("hung", i)}, nil)
			})
		}
		synctest.Wait()
		unreachable(t, g)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if s := g.Stats(); s.Breaker != BreakerClosed {
			t.Errorf("after a late answer: %+v", s)
		}
		time.Sleep(2501 * time.Millisecond)
		if s := g.Stats(); s.Lost != 3+5 || s.Opened != 1 {
			t.Errorf("after late losses: %+v", s)
		}
		wg.Wait()
	})
}

// A probe that is not made, or comes to nothing, leaves its place to the next.
func TestProbeIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var quiet atomic.Bool
		g := service(func(ctx context.Context, text string, n int) error {
			if text == "panics" {
				panic("the decrypter")
			}
			if quiet.Load() {
				return hang(ctx, text, n)
			}
			return errLost
		}).gate(Config{})
		unreachable(t, g)
		time.Sleep(breakerPause)
		quiet.Store(true)
		if err := once(g, "the caller's time is over"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a panic was swallowed")
				}
			}()
			_ = once(g, "panics")
		}()
		if s := g.Stats(); s.Breaker != BreakerHalfOpen || s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
		quiet.Store(false)
		calls := g.Stats().Calls
		if _ = once(g, "next"); g.Stats().Calls != calls+1 {
			t.Error("nobody may probe any more")
		}
	})
}

// One reader who opens one file after the other waits for the first failures,
// and then no more: for the first load where there is not even a connection, for
// three ciphertexts where a connection brings no answer.
func TestBreakerOpensForOneReaderInTurn(t *testing.T) {
	const load, short = 10 * time.Second, 2 * time.Second // shorter than an attempt
	for name, c := range map[string]struct {
		service service
		bound   time.Duration // of all that is waited for
		slow    int           // files that are waited for
	}{
		"no connection": {func(context.Context, string, int) error { return errUnreached }, load, 1},
		"no dial": {func(ctx context.Context, _ string, _ int) error {
			_ = latency(ctx, time.Hour)
			return &kms.Error{Class: kms.ErrTransient, Action: "Decrypt", Detail: "timed out", Unreached: true}
		}, load, 1},
		"no answer":                   {hang, 2*load + 5*time.Second, 3},
		"no answer within a deadline": {hang, 3 * short, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			deadline := load
			if c.bound < load {
				deadline = short
			}
			g := c.service.gate(Config{Load: deadline})
			begun, slow := time.Now(), 0
			for i := range 8 {
				at := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				_, err := g.Decrypt(ctx, kms.Blob{Text: fmt.Sprint(i)}, nil)
				if cancel(); !errors.Is(err, kms.ErrTransient) {
					t.Errorf("%s: %v", name, err)
				}
				if time.Since(at) > 0 {
					slow++
				}
			}
			if slow != c.slow || time.Since(begun) > c.bound {
				t.Errorf("%s: %d files were waited for, %v in all", name, slow, time.Since(begun))
			}
			idle(t, g)
		})
	}
}
