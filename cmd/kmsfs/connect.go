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

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun"
)

// fromEnvironment fills what may be given by the environment, before options.
// A variable left over from a trial must not redirect a mount that a machine
// makes at boot: under mount(8)'s helper names only the region counts.
func (c *connection) fromEnvironment(getenv func(string) string, helper bool) {
	c.region = getenv("ALIBABA_CLOUD_REGION_ID")
	if !helper {
		c.endpoint = getenv("KMSFS_ENDPOINT")
		c.caFile = getenv("KMSFS_CA_FILE")
	}
}

// regional recognises the service's own addresses, which name their region.
var regional = regexp.MustCompile(`^kms(?:-vpc)?\.([a-zA-Z0-9-]+)\.aliyuncs\.com(?::\d+)?$`)

// defaultRegion is sent where an endpoint of one's own decides everything.
const defaultRegion = "cn-hangzhou"

// client builds the adapter. It makes no network call.
func (s *settings) client(getenv func(string) string, log *slog.Logger) (*aliyun.Client, error) {
	if s.credentials.file == "" && s.ramRole == "" {
		s.credentials.file = lent(getenv)
	}
	source, err := aliyun.FindCredentials(aliyun.CredentialOptions{
		Profile: s.profile, File: s.credentials.file, RAMRole: s.ramRole, AllowProcess: s.allowProcess, Getenv: getenv, Log: log,
	})
	if err != nil {
		return nil, err
	}
	region := s.region
	if region == "" {
		region, _ = source.Region() // of the profile
	}
	if region == "" && s.endpoint != "" {
		region = defaultRegion
		if m := regional.FindStringSubmatch(s.endpoint); m != nil {
			region = m[1]
		}
	}
	c, err := aliyun.New(aliyun.Config{
		Region: region, Endpoint: s.endpoint, CAFile: s.caFile, VPC: s.vpc,
		AllowEmulator: s.allowEmulator, Credentials: source, Log: log, Repeat: s.token,
	})
	if errors.Is(err, aliyun.ErrBadRegion) && region == "" {
		return nil, ui.Failf("choose endpoint: no region").Hint("set ALIBABA_CLOUD_REGION_ID, for example to cn-hangzhou, or give --region or --endpoint")
	}
	return c, err
}

// lent is the file that systemd has put into memory for this service alone
// (LoadCredential=credentials:…), if it has.
func lent(getenv func(string) string) string {
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

// verbClient is client for a command that makes its calls and ends. What a mount
// warns of once, a command would repeat at every call of a script: it is said
// when it is asked for.
func (p *program) verbClient(s *settings) (*aliyun.Client, error) {
	s.allowEmulator = p.getenv("KMSFS_ALLOW_EMULATOR") == "1"
	c, err := s.client(p.getenv, nil)
	if err != nil {
		return nil, err
	}
	if s.verbose {
		for _, w := range c.Warnings() {
			p.warn(w)
		}
	}
	return c, nil
}

// decrypter puts before a client what guards it: the rate and the retries,
// and the keys that are allowed.
func (s *settings) decrypter(c *aliyun.Client) (kms.Decrypter, *kms.Gate, error) {
	gate := kms.NewGate(c, kms.GateConfig{QPS: s.qps, Load: s.timeout, Attempt: s.attempt()})
	s.gate = gate
	if len(s.keys) == 0 {
		return gate, gate, nil
	}
	allowed, err := kms.Allow(gate, aliasOf{c, gate}, s.keys)
	return allowed, gate, err
}

// attempt bounds one request: what is answered later than that could be served
// to nobody.
func (s *settings) attempt() time.Duration { return min(3*time.Second, s.ttl+s.stale) }

// token is the leave of the gate, if there is one, to send a request once more.
func (s *settings) token(ctx context.Context) error {
	if s.gate == nil {
		return nil
	}
	return s.gate.Token(ctx)
}

// aliasOf resolves aliases by asking the service for the key, at the rate of
// the gate.
type aliasOf struct {
	*aliyun.Client
	gate *kms.Gate
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
