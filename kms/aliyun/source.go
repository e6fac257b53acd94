package aliyun

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
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

// CredentialSource lends credentials and renews them ahead of their expiry.
// FindCredentials makes one. It is safe for concurrent use, prints without
// secrets, and has no goroutine while nobody asks.
//
// INVARIANTS: at most one fetch is under way, whoever asks and however long it
// takes. Credentials are lent until they expire, whether or not a fetch of
// newer ones fails. Credentials that have expired are never lent.
type CredentialSource struct {
	choose   func() (link, error) // looks at the environment and the files
	log      *slog.Logger
	region   string // of the profile
	metadata bool   // the instance metadata may be asked for the region
	allowV1  bool   // … without a session token
	warnings []string

	mu      sync.Mutex
	link    link // who is asked; chosen anew after a complete failure
	anew    bool // the next fetch chooses anew
	held    loan // the last good ones
	flight  *work[loan]
	failure error     // of the last fetch
	notYet  time.Time // no fetch before, unless the last one succeeded and what it got has expired
	forced  time.Time // when the last fetch ended that the service's word had caused
	where   lookup
}

// loan is credentials with their lifetime. The zero value is dead.
type loan struct {
	Credentials
	renewAt time.Time // zero: never
	expires time.Time // zero: never
}

// newLoan decides when to look for newer ones: at four fifths of the life that
// is left.
func newLoan(c Credentials, expires, now time.Time) loan {
	l := loan{Credentials: c, expires: expires}
	if !expires.IsZero() {
		l.renewAt = now.Add(expires.Sub(now) / 5 * 4)
	}
	return l
}

func (l loan) alive(now time.Time) bool {
	return l.Credentials != Credentials{} && (l.expires.IsZero() || now.Before(l.expires))
}

func (l loan) fresh(now time.Time) bool {
	return l.alive(now) && (l.renewAt.IsZero() || now.Before(l.renewAt))
}

// wallClock is the time without the monotonic reading, which stands still
// while a machine is suspended: tokens expire meanwhile.
func wallClock() time.Time { return time.Now().Round(0) }

func (s *CredentialSource) lend(ctx context.Context) (Credentials, error) {
	s.mu.Lock()
	now := wallClock()
	if s.held.alive(now) {
		defer s.mu.Unlock()
		if !s.held.fresh(now) && !now.Before(s.notYet) {
			s.fetch() // in the background
		}
		return s.held.Credentials, nil
	}
	if s.flight == nil && s.failure != nil && now.Before(s.notYet) {
		defer s.mu.Unlock()
		return Credentials{}, s.failure
	}
	f := s.fetch()
	s.mu.Unlock()
	got, err := f.wait(ctx)
	return got.Credentials, err
}

func (s *CredentialSource) renew(ctx context.Context, rejected Credentials) (Credentials, error) {
	s.mu.Lock()
	now := wallClock()
	switch {
	case s.held.Credentials != rejected && s.held.alive(now):
		defer s.mu.Unlock()
		return s.held.Credentials, nil // somebody else was faster
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
	return got.Credentials, err
}

// fetch starts a fetch, or returns the one under way. The caller holds s.mu.
func (s *CredentialSource) fetch() *work[loan] {
	if s.flight != nil {
		return s.flight
	}
	l := s.link
	choose := s.anew || l.build == nil
	s.flight = start(func() (loan, error) {
		if choose {
			var err error
			if l, err = s.choose(); err != nil {
				return loan{}, &miss{kms.ErrAuthentication, withoutVerb(err)}
			}
		}
		return l.fetch()
	}, func(got loan, err error) { s.landed(l, got, err) })
	return s.flight
}

// landed takes in what a fetch has brought.
func (s *CredentialSource) landed(l link, got loan, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight = nil
	now := wallClock()
	before, first := s.failure, s.held.Credentials == Credentials{}
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

func until(name string, l loan) slog.Attr {
	if l.expires.IsZero() {
		return slog.Attr{}
	}
	return slog.Time(name, l.expires)
}

// check has nothing to do: FindCredentials has done it.
func (s *CredentialSource) check() error {
	if s.choose == nil {
		return ErrNoCredentials
	}
	return nil
}

// Name says where the credentials come from, for logs.
func (s *CredentialSource) Name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link.name
}

// Region is the region that the chosen profile names, if it does.
func (s *CredentialSource) Region() (string, bool) { return s.region, s.region != "" }

// Warnings returns what the administrator should know, one line each. New
// takes them over.
func (s *CredentialSource) Warnings() []string { return slices.Clone(s.warnings) }

// String keeps the secrets out of %v and %+v.
func (*CredentialSource) String() string { return "redacted" }

// GoString keeps the secrets out of %#v.
func (*CredentialSource) GoString() string { return "redacted" }

// LogValue keeps the secrets out of structured logs.
func (*CredentialSource) LogValue() slog.Value { return slog.StringValue("redacted") }

// MarshalText keeps the secrets out of JSON and its like.
func (*CredentialSource) MarshalText() ([]byte, error) { return []byte("redacted"), nil }

// miss is why there are no credentials, or no region, in words of our own.
type miss struct {
	class  error // kms.ErrAuthentication, kms.ErrConfiguration or kms.ErrTransient
	detail string
}

func (m *miss) Error() string { return m.detail }

// missing turns what a Lender returned into the error of a call.
func missing(ctx context.Context, action string, err error) error {
	if ctx.Err() != nil {
		return ended(ctx, action, false)
	}
	e := &kms.Error{Class: kms.ErrTransient, Action: action, Detail: "no credentials"}
	var m *miss
	if errors.As(err, &m) {
		e.Class, e.Detail = m.class, m.detail
	}
	if strings.HasPrefix(e.Detail, noRegion) {
		e.Hint = hintRegion
	}
	return e
}
