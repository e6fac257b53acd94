package credentials

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

const (
	// fetchPatience is how long a caller waits for credentials.
	fetchPatience = 10 * time.Second
	// failurePause is how long nobody is asked again after a failure that
	// left us without credentials.
	failurePause = time.Second
	// shortestPause and longestPause bound the pause after a failure, or
	// between two looks, while the present credentials are still valid.
	shortestPause = 100 * time.Millisecond
	longestPause  = time.Minute
)

// Source keeps credentials and renews them ahead of their expiry. Find makes one.
// It is safe for concurrent use, prints without secrets, and has no goroutine
// while nobody asks.
//
// INVARIANTS: at most one fetch is under way, whoever asks and however long it
// takes. A key is given out until it expires, whether or not a fetch of a newer
// one fails. A key that has expired is never given out.
type Source struct {
	choose   func() (link, error) // looks at the environment and the files
	log      *slog.Logger
	region   string // of the profile
	metadata bool   // the instance metadata may be asked for the region
	allowV1  bool   // … without a session token
	warnings []string

	mu      sync.Mutex
	link    link     // who is asked; chosen anew after a complete failure
	anew    bool     // the next fetch chooses anew
	held    timedKey // the last good ones
	flight  *work[timedKey]
	failure error     // of the last fetch
	notYet  time.Time // no fetch before, unless the last one succeeded and what it got has expired
	forced  time.Time // when the last fetch ended that the service's word had caused
	where   lookup
}

// timedKey is a key with its lifetime. The zero value is dead.
type timedKey struct {
	AccessKey
	renewAt time.Time // zero: never
	expires time.Time // zero: never
}

// newTimedKey decides when to look for a newer one: at four fifths of the life that
// is left.
func newTimedKey(c AccessKey, expires, now time.Time) timedKey {
	k := timedKey{AccessKey: c, expires: expires}
	if !expires.IsZero() {
		k.renewAt = now.Add(expires.Sub(now) / 5 * 4)
	}
	return k
}

func (k timedKey) alive(now time.Time) bool {
	return k.AccessKey != AccessKey{} && (k.expires.IsZero() || now.Before(k.expires))
}

func (k timedKey) fresh(now time.Time) bool {
	return k.alive(now) && (k.renewAt.IsZero() || now.Before(k.renewAt))
}

// wallClock is the time without the monotonic reading, which stands still
// while a machine is suspended: tokens expire meanwhile.
func wallClock() time.Time { return time.Now().Round(0) }

func (s *Source) Retrieve(ctx context.Context) (AccessKey, error) {
	s.mu.Lock()
	now := wallClock()
	if s.held.alive(now) {
		defer s.mu.Unlock()
		if !s.held.fresh(now) && !now.Before(s.notYet) {
			s.fetch() // in the background
		}
		return s.held.AccessKey, nil
	}
	if s.flight == nil && s.failure != nil && now.Before(s.notYet) {
		defer s.mu.Unlock()
		return AccessKey{}, s.failure
	}
	f := s.fetch()
	s.mu.Unlock()
	got, err := f.wait(ctx)
	return got.AccessKey, err
}

func (s *Source) Renew(ctx context.Context, rejected AccessKey) (AccessKey, error) {
	s.mu.Lock()
	now := wallClock()
	switch {
	case s.held.AccessKey != rejected && s.held.alive(now):
		defer s.mu.Unlock()
		return s.held.AccessKey, nil // somebody else was faster
	case s.flight == nil && s.held.alive(now) && now.Sub(s.forced).Abs() < failurePause:
		defer s.mu.Unlock()
		return rejected, nil
	}
	f := s.fetch()
	s.mu.Unlock()
	got, err := f.wait(ctx)
	s.mu.Lock()
	s.forced = wallClock()
	s.mu.Unlock()
	return got.AccessKey, err
}

// fetch starts a fetch, or returns the one under way. The caller holds s.mu.
func (s *Source) fetch() *work[timedKey] {
	if s.flight != nil {
		return s.flight
	}
	l := s.link
	choose := s.anew || l.build == nil
	s.flight = start(func() (timedKey, error) {
		if choose {
			var err error
			if l, err = s.choose(); err != nil {
				return timedKey{}, fault(kms.ErrAuthentication, withoutVerb(err))
			}
		}
		return l.fetch()
	}, func(got timedKey, err error) { s.landed(l, got, err) })
	return s.flight
}

// landed takes in what a fetch has brought.
func (s *Source) landed(l link, got timedKey, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight = nil
	now := wallClock()
	before, first := s.failure, s.held.AccessKey == AccessKey{}
	s.failure = err
	if err == nil {
		s.link, s.anew, s.held = l, false, got
		s.notYet = now.Add(shortestPause)
		if s.log != nil && (first || before != nil) {
			s.log.Info("credentials obtained", "source", l.name, until("expire", got))
		}
		return
	}
	if !s.held.alive(now) {
		s.anew = true
		s.notYet = now.Add(failurePause)
	} else {
		pause := longestPause
		if !s.held.expires.IsZero() {
			pause = s.held.expires.Sub(now) / 20
		}
		s.notYet = now.Add(min(max(pause, shortestPause), longestPause))
	}
	if s.log != nil && before == nil { // once, until it works again
		s.log.Warn("credentials could not be obtained", "err", err, until("present_ones_expire", s.held))
	}
}

func until(name string, k timedKey) slog.Attr {
	if k.expires.IsZero() {
		return slog.Attr{}
	}
	return slog.Time(name, k.expires)
}

// Check has nothing to do: Find has done it.
func (s *Source) Check() error {
	if s.choose == nil {
		return ErrNone
	}
	return nil
}

// Name says where the credentials come from, for logs.
func (s *Source) Name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link.name
}

// AsksInstance says that the metadata of this instance may tell the region.
func (s *Source) AsksInstance() bool { return s.metadata }

// Region is the region that the chosen profile names, if it does.
func (s *Source) Region() (string, bool) { return s.region, s.region != "" }

// Warnings returns what the administrator should know, one line each. New
// takes them over.
func (s *Source) Warnings() []string { return slices.Clone(s.warnings) }

// String keeps the secrets out of %v and %+v.
func (*Source) String() string { return "redacted" }

// GoString keeps the secrets out of %#v.
func (*Source) GoString() string { return "redacted" }

// LogValue keeps the secrets out of structured logs.
func (*Source) LogValue() slog.Value { return slog.StringValue("redacted") }

// MarshalText keeps the secrets out of JSON and its like.
func (*Source) MarshalText() ([]byte, error) { return []byte("redacted"), nil }

// Error is why there are no credentials, or no region, in words of our own.
type Error struct {
	Class  error // kms.ErrAuthentication, kms.ErrConfiguration or kms.ErrTransient
	Detail string
	Hint   string // what to do about it; empty: what the class says
}

func (e *Error) Error() string { return e.Detail }

func fault(class error, detail string) *Error { return &Error{Class: class, Detail: detail} }
