package main

import (
	"log/slog"
	"regexp"

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
	cred, err := aliyun.CredentialsFromEnv(getenv)
	if err != nil {
		return nil, err
	}
	region := s.region
	if region == "" && s.endpoint != "" {
		region = defaultRegion
		if m := regional.FindStringSubmatch(s.endpoint); m != nil {
			region = m[1]
		}
	}
	if region == "" {
		return nil, usagef("choose endpoint: no region").hint("set ALIBABA_CLOUD_REGION_ID, for example to cn-hangzhou, or give --region or --endpoint")
	}
	return aliyun.New(aliyun.Config{
		Region: region, Endpoint: s.endpoint, CAFile: s.caFile, VPC: s.vpc,
		AllowEmulator: s.allowEmulator, Credentials: cred, Log: log,
	})
}

// verbClient is client for a verb that makes one call and ends.
func (p *program) verbClient(s *settings) (*aliyun.Client, error) {
	s.allowEmulator = p.getenv("KMSFS_ALLOW_EMULATOR") == "1"
	c, err := s.client(p.getenv, nil)
	if err != nil {
		return nil, err
	}
	for _, w := range c.Warnings() {
		p.warn(w)
	}
	return c, nil
}
