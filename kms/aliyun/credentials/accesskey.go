package credentials

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

const (
	envKeyID  = "ALIBABA_CLOUD_ACCESS_KEY_ID"
	envSecret = "ALIBABA_CLOUD_ACCESS_KEY_SECRET"
	envToken  = "ALIBABA_CLOUD_SECURITY_TOKEN"
)

var (
	// ErrNone: there is no access key at all.
	ErrNone = errors.New("no credentials")
	// ErrHalf: one half of an access key, or a token alone.
	ErrHalf = errors.New("incomplete credentials")
)

// Provider is where a client gets the access key for each call: one that never
// changes (AccessKey), or a Source.
type Provider interface {
	// Retrieve returns a key that is valid now. Its error is an *Error, or ctx's.
	Retrieve(ctx context.Context) (AccessKey, error)
	// Renew is Retrieve after the service has rejected what it gave. It returns
	// the rejected key again where there is no other.
	Renew(ctx context.Context, rejected AccessKey) (AccessKey, error)
	// Check says whether there is any key at all.
	Check() error
}

var (
	_ Provider = AccessKey{}
	_ Provider = (*Source)(nil)
)

// AccessKey is an access key and, for a temporary one, its STS token. It prints
// as the word "redacted".
type AccessKey struct {
	AccessKeyID     string
	AccessKeySecret string
	SecurityToken   string // empty for a permanent key
}

// String keeps the secret out of %v and %+v.
func (AccessKey) String() string { return "redacted" }

// GoString keeps the secret out of %#v.
func (AccessKey) GoString() string { return "redacted" }

// LogValue keeps the secret out of structured logs.
func (AccessKey) LogValue() slog.Value { return slog.StringValue("redacted") }

// MarshalText keeps the secret out of JSON and its like.
func (AccessKey) MarshalText() ([]byte, error) { return []byte("redacted"), nil }

func (c AccessKey) Retrieve(context.Context) (AccessKey, error) { return c, nil }

func (c AccessKey) Renew(context.Context, AccessKey) (AccessKey, error) { return c, nil }

func (c AccessKey) Check() error {
	if c == (AccessKey{}) {
		return fmt.Errorf("read credentials: %w: %s and %s are not set", ErrNone, envKeyID, envSecret)
	}
	if err := c.flaw(envKeyID, envSecret, envToken); err != nil {
		return fmt.Errorf("read credentials: %w", err)
	}
	return nil
}

// flaw says what is wrong with the form of a key, by the names that their
// source has for the three parts. It quotes nothing: a secret pasted into the
// wrong place must not reach a log.
func (c AccessKey) flaw(id, secret, token string) error {
	for _, half := range []struct{ name, value string }{{id, c.AccessKeyID}, {secret, c.AccessKeySecret}} {
		if half.value == "" {
			return fmt.Errorf("%w: %s is not set", ErrHalf, half.name)
		}
	}
	for _, v := range []struct{ name, value string }{{id, c.AccessKeyID}, {secret, c.AccessKeySecret}, {token, c.SecurityToken}} {
		// A line break left over from a file signs as part of the key and
		// comes back as a misleading SignatureDoesNotMatch.
		if strings.ContainsFunc(v.value, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf("%s holds white space or other characters that no key has", v.name)
		}
	}
	return nil
}
