package credentials

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aliyun/credentials-go/credentials/providers"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// well is a provider of our own, whose answers a test decides.
type well struct {
	draw    func() (AccessKey, time.Time, error)
	expires time.Time
}

func (w *well) GetProviderName() string { return "well" }
func (w *well) expiry() time.Time       { return w.expires }

func (w *well) GetCredentials() (*providers.Credentials, error) {
	c, expires, err := w.draw()
	w.expires = expires
	return &providers.Credentials{AccessKeyId: c.AccessKeyID, AccessKeySecret: c.AccessKeySecret, SecurityToken: c.SecurityToken}, err
}

func sourceOf(draw func() (AccessKey, time.Time, error)) *Source {
	return &Source{choose: func() (link, error) {
		return link{name: "the well", build: func() (libraryProvider, error) { return &well{draw: draw}, nil }}, nil
	}}
}

func numbered(n int) AccessKey {
	return AccessKey{fmt.Sprintf("STS.%d", n), secretKey, token}
}

var errDry = fault(kms.ErrTransient, "dry")

// wantFault requires an *Error of a class.
func wantFault(t testing.TB, name string, err, class error) {
	t.Helper()
	if e, ok := errors.AsType[*Error](err); !ok || e.Class != class {
		t.Errorf("%s: %v, want class %q", name, err, class)
	}
}

// A thousand who come at once cause one fetch, and all get what it brings.
func TestOneFetchForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetches := 0
		s := sourceOf(func() (AccessKey, time.Time, error) {
			fetches++
			time.Sleep(2 * time.Second)
			return numbered(fetches), time.Now().Add(time.Hour), nil
		})
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				if c, err := s.Retrieve(context.Background()); err != nil || c != numbered(1) {
					t.Errorf("%v, %v", c.AccessKeyID, err)
				}
			})
		}
		wg.Wait()
		if fetches != 1 {
			t.Errorf("%d fetches", fetches)
		}
	})
}

// Under steady use credentials are renewed ahead of their expiry, nobody waits
// for that, and nobody gets expired ones: for the hour that STS gives by
// default, and for two seconds.
func TestRenewedAhead(t *testing.T) {
	for _, life := range []time.Duration{2 * time.Second, time.Minute, time.Hour, 12 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			expiry := map[string]time.Time{}
			s := sourceOf(func() (AccessKey, time.Time, error) {
				time.Sleep(min(life/20, 5*time.Second))
				mu.Lock()
				defer mu.Unlock()
				c := numbered(len(expiry))
				expiry[c.AccessKeyID] = time.Now().Add(life)
				return c, expiry[c.AccessKeyID], nil
			})
			if _, err := s.Retrieve(context.Background()); err != nil {
				t.Fatal(err)
			}
			for range 1000 {
				time.Sleep(life / 100)
				before := time.Now()
				c, err := s.Retrieve(context.Background())
				mu.Lock()
				left := time.Until(expiry[c.AccessKeyID])
				mu.Unlock()
				if err != nil || time.Since(before) != 0 || left <= 0 {
					t.Fatalf("%v: %v after %v, %v left", life, err, time.Since(before), left)
				}
			}
			time.Sleep(life)
			if n := len(expiry); n < 10 || n > 14 { // each renewed at four fifths
				t.Errorf("%v: %d fetches in ten lives", life, n)
			}
		})
	}
}

// While renewals fail the last good key is given out until they expire, and
// the source is not hammered. Two-second tokens survive that every second fetch
// fails.
func TestLastGoodIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		fetches := 0
		s := sourceOf(func() (AccessKey, time.Time, error) {
			if fetches++; fetches == 1 {
				return numbered(1), time.Now().Add(time.Hour), nil
			}
			return AccessKey{}, time.Time{}, errDry
		})
		s.log = slog.New(slog.NewTextHandler(&log, nil))
		for begun := time.Now(); time.Since(begun) < time.Hour; time.Sleep(100 * time.Millisecond) {
			if c, err := s.Retrieve(context.Background()); err != nil || c != numbered(1) {
				t.Fatalf("after %v: %v", time.Since(begun), err)
			}
		}
		synctest.Wait()
		if fetches < 10 || fetches > 250 {
			t.Errorf("%d fetches in the last twelve minutes", fetches)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || strings.Contains(log.String(), secretKey) {
			t.Errorf("%d warnings: %s", n, log.String())
		}
		_, err := s.Retrieve(context.Background())
		wantFault(t, "past the expiry", err, kms.ErrTransient)
		synctest.Wait()
	})
	synctest.Test(t, func(t *testing.T) {
		fetches := 0
		s := sourceOf(func() (AccessKey, time.Time, error) {
			if fetches++; fetches%2 == 0 {
				return AccessKey{}, time.Time{}, errDry
			}
			return numbered(fetches), time.Now().Add(2 * time.Second), nil
		})
		for range 6000 {
			if _, err := s.Retrieve(context.Background()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
	})
}

// After a complete failure the source is chosen anew: what was configured in
// the meantime is found. Until then nobody is asked more than once a second,
// however many want to read.
func TestChosenAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		choices, mended := 0, false
		s := &Source{choose: func() (link, error) {
			choices++
			draw := func() (AccessKey, time.Time, error) { return AccessKey{}, time.Time{}, errDry }
			if mended {
				draw = func() (AccessKey, time.Time, error) { return numbered(7), time.Time{}, nil }
			}
			return link{name: "x", build: func() (libraryProvider, error) { return &well{draw: draw}, nil }}, nil
		}}
		for range 1000 {
			if _, err := s.Retrieve(context.Background()); err == nil || !strings.Contains(err.Error(), "dry") {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if choices < 9 || choices > 11 {
			t.Errorf("%d choices in ten seconds", choices)
		}
		mended = true
		time.Sleep(failurePause)
		if c, err := s.Retrieve(context.Background()); err != nil || c != numbered(7) {
			t.Errorf("%v", err)
		}
	})
}

// That holds as well for a source that has worked for long: one lifetime after
// it went dry, another is found.
func TestLeftForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dry atomic.Bool
		old := func() (AccessKey, time.Time, error) {
			if dry.Load() {
				return AccessKey{}, time.Time{}, errDry
			}
			return numbered(1), time.Now().Add(time.Hour), nil
		}
		newer := func() (AccessKey, time.Time, error) { return numbered(2), time.Time{}, nil }
		s := &Source{choose: func() (link, error) {
			draw := old
			if dry.Load() {
				draw = newer
			}
			return link{name: "x", build: func() (libraryProvider, error) { return &well{draw: draw}, nil }}, nil
		}}
		if _, err := s.Retrieve(context.Background()); err != nil {
			t.Fatal(err)
		}
		dry.Store(true)
		for begun := time.Now(); ; time.Sleep(time.Second) {
			c, err := s.Retrieve(context.Background())
			if since := time.Since(begun); since < time.Hour && (err != nil || c != numbered(1)) {
				t.Fatalf("after %v: %v, %v", since, c.AccessKeyID, err)
			} else if since > time.Hour+2*time.Second {
				if err != nil || c != numbered(2) {
					t.Errorf("after %v: %v, %v", since, c.AccessKeyID, err)
				}
				break
			}
		}
		synctest.Wait()
	})
}

// Who waits gives up with the own context, or after ten seconds; the fetch goes
// on, stays the only one, and what it brings is used.
func TestSlowFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetches := 0
		s := sourceOf(func() (AccessKey, time.Time, error) {
			fetches++
			time.Sleep(25 * time.Second)
			return numbered(1), time.Time{}, nil
		})
		begun := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := s.Retrieve(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		_, err := s.Retrieve(context.Background())
		if time.Since(begun) != fetchPatience || err == nil {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		wantFault(t, "our deadline", err, kms.ErrTransient)
		if _, err := s.Retrieve(context.Background()); err == nil || time.Since(begun) != fetchPatience {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		time.Sleep(20 * time.Second)
		if c, err := s.Retrieve(context.Background()); err != nil || c != numbered(1) || fetches != 1 {
			t.Errorf("%v, %d fetches", err, fetches)
		}
	})
}

// A provider that panics, or gives what cannot be credentials, is an error
// without its words.
func TestBadProvider(t *testing.T) {
	for name, draw := range map[string]func() (AccessKey, time.Time, error){
		"panic":   func() (AccessKey, time.Time, error) { panic("canary") },
		"nothing": func() (AccessKey, time.Time, error) { return AccessKey{}, time.Time{}, nil },
		"half":    func() (AccessKey, time.Time, error) { return AccessKey{AccessKeyID: accessKey}, time.Time{}, nil },
		"newline": func() (AccessKey, time.Time, error) {
			return AccessKey{accessKey, secretKey + "\n", ""}, time.Time{}, nil
		},
		"expired":  func() (AccessKey, time.Time, error) { return numbered(1), time.Now().Add(-time.Second), nil },
		"an error": func() (AccessKey, time.Time, error) { return AccessKey{}, time.Time{}, errors.New("canary") },
	} {
		_, err := sourceOf(draw).Retrieve(context.Background())
		cloudtest.Clean(t, name, err)
	}
	s := &Source{choose: func() (link, error) { panic("canary") }}
	_, err := s.Retrieve(context.Background())
	cloudtest.Clean(t, "choose", err)
}

// However a source is printed, its secrets do not show.
func TestSourceDoesNotPrint(t *testing.T) {
	s := sourceOf(func() (AccessKey, time.Time, error) { return AccessKey{accessKey, secretKey, token}, time.Time{}, nil })
	if _, err := s.Retrieve(context.Background()); err != nil {
		t.Fatal(err)
	}
	inside := struct{ Credentials Provider }{s}
	var out bytes.Buffer
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&out, format+format, inside, s)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "source", s)
	out.WriteString(cloudtest.JSON(inside))
	for _, secret := range []string{accessKey, secretKey, token} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%s is in %s", secret, out.String())
		}
	}
	if s.Name() != "the well" {
		t.Errorf("name %q", s.Name())
	}
}

// When the service rejects a key, a hundred callers cause one fetch;
// where it brings nothing else, not more than one a second.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int32
		last := 1
		s := sourceOf(func() (AccessKey, time.Time, error) {
			fetches.Add(1)
			time.Sleep(time.Second)
			return numbered(last), time.Now().Add(time.Hour), nil
		})
		if _, err := s.Retrieve(context.Background()); err != nil {
			t.Fatal(err)
		}
		last = 2
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if c, err := s.Renew(context.Background(), numbered(1)); err != nil || c != numbered(2) {
					t.Errorf("%v, %v", c.AccessKeyID, err)
				}
			})
		}
		wg.Wait()
		if c, err := s.Renew(context.Background(), numbered(1)); err != nil || c != numbered(2) || fetches.Load() != 2 {
			t.Errorf("too late: %v, %v, %d fetches", c.AccessKeyID, err, fetches.Load())
		}
		for range 100 {
			if c, err := s.Renew(context.Background(), numbered(2)); err != nil || c != numbered(2) {
				t.Errorf("nothing new: %v, %v", c.AccessKeyID, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := fetches.Load(); n > 4 {
			t.Errorf("%d fetches", n)
		}
	})
}
