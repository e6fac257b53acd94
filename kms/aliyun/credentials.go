package aliyun

import (
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

// check quotes nothing: a secret pasted into the wrong variable must not
// reach a log.
func (c Credentials) check() error {
	if c == (Credentials{}) {
		return fmt.Errorf("read credentials: %w: %s and %s are not set", ErrNoCredentials, envKeyID, envSecret)
	}
	for _, half := range []struct{ name, value string }{{envKeyID, c.AccessKeyID}, {envSecret, c.AccessKeySecret}} {
		if half.value == "" {
			return fmt.Errorf("read credentials: %w: %s is not set", ErrHalfCredentials, half.name)
		}
	}
	for _, v := range []struct{ name, value string }{
		{envKeyID, c.AccessKeyID}, {envSecret, c.AccessKeySecret}, {envToken, c.SecurityToken},
	} {
		// A line break left over from a file signs as part of the key and
		// comes back as a misleading SignatureDoesNotMatch.
		if strings.ContainsFunc(v.value, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf("read credentials: %s holds white space or other characters that no key has", v.name)
		}
	}
	return nil
}

// static implements the SDK's CredentialsProvider. Unlike the SDK's own
// providers it is safe for concurrent use: it only reads.
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
