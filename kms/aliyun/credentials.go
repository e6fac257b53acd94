package aliyun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	sdkcredentials "github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
)

const (
	envKeyID  = "ALIBABA_CLOUD_ACCESS_KEY_ID"
	envSecret = "ALIBABA_CLOUD_ACCESS_KEY_SECRET"
	envToken  = "ALIBABA_CLOUD_SECURITY_TOKEN"
)

var (
	// ErrNoCredentials: there is no access key at all.
	ErrNoCredentials = errors.New("no credentials")
	// ErrHalfCredentials: one half of an access key, or a token alone.
	ErrHalfCredentials = errors.New("incomplete credentials")
)

// Lender is where a Client gets credentials for each call: Credentials, which
// never change, or a CredentialSource.
type Lender interface {
	// lend returns credentials that are valid now. Its error is a *miss, or
	// ctx's.
	lend(ctx context.Context) (Credentials, error)
	// renew is lend after the service has rejected what was lent. It returns
	// the rejected ones again where there are no others.
	renew(ctx context.Context, rejected Credentials) (Credentials, error)
	// check says whether there is anything to lend at all.
	check() error
}

var (
	_ Lender = Credentials{}
	_ Lender = (*CredentialSource)(nil)
)

// Credentials are an access key and, for a temporary one, its STS token. They
// print as the word "redacted".
type Credentials struct {
	AccessKeyID     string
	AccessKeySecret string
	SecurityToken   string // empty for a permanent key
}

// String keeps the secret out of %v and %+v.
func (Credentials) String() string { return "redacted" }

// GoString keeps the secret out of %#v.
func (Credentials) GoString() string { return "redacted" }

// LogValue keeps the secret out of structured logs.
func (Credentials) LogValue() slog.Value { return slog.StringValue("redacted") }

// MarshalText keeps the secret out of JSON and its like.
func (Credentials) MarshalText() ([]byte, error) { return []byte("redacted"), nil }

// CredentialsFromEnv reads the variables that Alibaba's own programs use.
func CredentialsFromEnv(getenv func(string) string) (Credentials, error) {
	c := Credentials{
		AccessKeyID:     getenv(envKeyID),
		AccessKeySecret: getenv(envSecret),
		SecurityToken:   getenv(envToken),
	}
	if err := c.check(); err != nil {
		return Credentials{}, err
	}
	return c, nil
}

func (c Credentials) lend(context.Context) (Credentials, error) { return c, nil }

func (c Credentials) renew(context.Context, Credentials) (Credentials, error) { return c, nil }

func (c Credentials) check() error {
	if c == (Credentials{}) {
		return fmt.Errorf("read credentials: %w: %s and %s are not set", ErrNoCredentials, envKeyID, envSecret)
	}
	if err := c.flaw(envKeyID, envSecret, envToken); err != nil {
		return fmt.Errorf("read credentials: %w", err)
	}
	return nil
}

// flaw says what is wrong with the form of credentials, by the names that their
// source has for the three parts. It quotes nothing: a secret pasted into the
// wrong place must not reach a log.
func (c Credentials) flaw(id, secret, token string) error {
	for _, half := range []struct{ name, value string }{{id, c.AccessKeyID}, {secret, c.AccessKeySecret}} {
		if half.value == "" {
			return fmt.Errorf("%w: %s is not set", ErrHalfCredentials, half.name)
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

// static hands credentials to the SDK. Unlike the SDK's own providers it is
// safe for concurrent use: it only reads.
type static Credentials

func (s static) GetCredentials() (*sdkcredentials.Credentials, error) {
	return &sdkcredentials.Credentials{
		AccessKeyId:     s.AccessKeyID,
		AccessKeySecret: s.AccessKeySecret,
		SecurityToken:   s.SecurityToken,
		ProviderName:    s.GetProviderName(),
	}, nil
}

func (static) GetProviderName() string { return "static" }
