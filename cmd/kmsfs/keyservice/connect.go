// Package keyservice brings Alibaba Cloud KMS to the program: the settings of a
// command become a client, and what guards it.
package keyservice

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/kms/aliyun"
	"github.com/kmsfs/kmsfs/kms/aliyun/credentials"
)

// regional recognises the service's own addresses, which name their region.
var regional = regexp.MustCompile(`^kms(?:-vpc)?\.([a-zA-Z0-9-]+)\.aliyuncs\.com(?::\d+)?$`)

// defaultRegion is sent where an endpoint of one's own decides everything.
const defaultRegion = "cn-hangzhou"

// Client builds the adapter. It makes no network call.
func Client(s *options.Settings, getenv func(string) string, log *slog.Logger) (*aliyun.Client, error) {
	if s.Credentials.File == "" && s.RAMRole == "" {
		s.Credentials.File = systemdCredential(getenv)
	}
	source, err := credentials.Find(credentials.Options{
		Profile: s.Profile, File: s.Credentials.File, RAMRole: s.RAMRole, AllowProcess: s.AllowProcess, Getenv: getenv, Log: log,
	})
	if err != nil {
		return nil, err
	}
	ofProfile, _ := source.Region()
	region := regionOf(s.Connection, ofProfile)
	c, err := aliyun.New(aliyun.Config{
		Region: region, Endpoint: s.Endpoint, CAFile: s.CAFile, VPC: s.VPC,
		AllowEmulator: s.AllowEmulator, Credentials: source, Log: log, Repeat: func(ctx context.Context) error { return repeat(ctx, s) },
	})
	if errors.Is(err, aliyun.ErrBadRegion) && region == "" {
		return nil, ui.Failf("choose endpoint: no region").
			Hint("set ALIBABA_CLOUD_REGION_ID, for example to cn-hangzhou, or give --region or --endpoint")
	}
	return c, err
}

// regionOf is the region that is named: by the settings, by the profile, or by the
// endpoint. None is left to the instance.
func regionOf(c options.Connection, ofProfile string) string {
	region := cmp.Or(c.Region, ofProfile)
	if region == "" && c.Endpoint != "" {
		region = defaultRegion
		if m := regional.FindStringSubmatch(c.Endpoint); m != nil {
			region = m[1]
		}
	}
	return region
}

// systemdCredential is the file that systemd has put into memory for this service
// alone (LoadCredential=credentials:…), if it has.
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

// repeat asks the gate, if there is one, for leave to send a request once more.
func repeat(ctx context.Context, s *options.Settings) error {
	if s.Repeat == nil {
		return nil
	}
	return s.Repeat(ctx)
}
