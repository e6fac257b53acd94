package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun"
	"github.com/kmsfs/kmsfs/kms/aliyun/credentials"
	"github.com/kmsfs/kmsfs/kms/gate"
)

// regional recognises the service's own addresses, which name their region.
var regional = regexp.MustCompile(`^kms(?:-vpc)?\.([a-zA-Z0-9-]+)\.aliyuncs\.com(?::\d+)?$`)

// defaultRegion is sent where an endpoint of one's own decides everything.
const defaultRegion = "cn-hangzhou"

// newClient builds the adapter. It makes no network call.
func newClient(s *options.Settings, getenv func(string) string, log *slog.Logger) (*aliyun.Client, error) {
	if s.Credentials.File == "" && s.RAMRole == "" {
		s.Credentials.File = systemdCredential(getenv)
	}
	source, err := credentials.Find(credentials.Options{
		Profile: s.Profile, File: s.Credentials.File, RAMRole: s.RAMRole, AllowProcess: s.AllowProcess, Getenv: getenv, Log: log,
	})
	if err != nil {
		return nil, err
	}
	region := s.Region
	if region == "" {
		region, _ = source.Region() // of the profile
	}
	if region == "" && s.Endpoint != "" {
		region = defaultRegion
		if m := regional.FindStringSubmatch(s.Endpoint); m != nil {
			region = m[1]
		}
	}
	c, err := aliyun.New(aliyun.Config{
		Region: region, Endpoint: s.Endpoint, CAFile: s.CAFile, VPC: s.VPC,
		AllowEmulator: s.AllowEmulator, Credentials: source, Log: log, Repeat: func(ctx context.Context) error { return repeat(ctx, s) },
	})
	if errors.Is(err, aliyun.ErrBadRegion) && region == "" {
		return nil, ui.Failf("choose endpoint: no region").Hint("set ALIBABA_CLOUD_REGION_ID, for example to cn-hangzhou, or give --region or --endpoint")
	}
	return c, err
}

// systemdCredential is the file that systemd has put into memory for this service alone
// (LoadCredential=credentials:…), if it has.
func systemdCredential(getenv func(string) string) string {
	dir := getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return ""
	}
	path := filepath.Join(dir, "credentials")
	if _, err := os.Lstat(path); err != nil {
		return ""
	}
	return path
}

// verbClient is newClient for a command that makes its calls and ends. What a mount
// warns of once, a command would repeat at every call of a script: it is said
// when it is asked for.
func (p *program) verbClient(s *options.Settings) (*aliyun.Client, error) {
	s.AllowEmulator = p.getenv("KMSFS_ALLOW_EMULATOR") == "1"
	c, err := newClient(s, p.getenv, nil)
	if err != nil {
		return nil, err
	}
	if s.Verbose {
		for _, w := range c.Warnings() {
			p.warn(w)
		}
	}
	return c, nil
}

// newDecrypter puts before a client what guards it: the rate and the retries,
// and the keys that are allowed.
func newDecrypter(s *options.Settings, c *aliyun.Client) (kms.Decrypter, *gate.Gate, error) {
	g := gate.New(c, gate.Config{QPS: s.QPS, Load: s.Timeout, Attempt: attempt(s)})
	s.Repeat = g.Token
	if len(s.Keys) == 0 {
		return g, g, nil
	}
	ids, aliases, err := aliyun.ParseKeys(s.Keys)
	if err != nil {
		return nil, nil, err
	}
	return kms.Allow(g, aliasOf{c, g}, ids, aliases), g, nil
}

// attempt bounds one request: what is answered later than that could be served
// to nobody.
func attempt(s *options.Settings) time.Duration { return min(3*time.Second, s.TTL+s.Stale) }

// repeat asks the gate, if there is one, for leave to send a request once more.
func repeat(ctx context.Context, s *options.Settings) error {
	if s.Repeat == nil {
		return nil
	}
	return s.Repeat(ctx)
}

// aliasOf resolves aliases by asking the service for the key, at the rate of
// the gate.
type aliasOf struct {
	*aliyun.Client
	gate *gate.Gate
}

func (a aliasOf) ResolveAlias(ctx context.Context, alias string) (string, error) {
	if err := a.gate.Token(ctx); err != nil {
		return "", err
	}
	raw, err := a.DescribeKey(ctx, alias)
	if err != nil {
		return "", err
	}
	var answer struct{ KeyMetadata struct{ KeyId string } }
	if err := json.Unmarshal(raw, &answer); err != nil || answer.KeyMetadata.KeyId == "" {
		return "", &kms.Error{Class: kms.ErrBadAnswer, Action: "DescribeKey", Detail: "it names no key"}
	}
	return answer.KeyMetadata.KeyId, nil
}
