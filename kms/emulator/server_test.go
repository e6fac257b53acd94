package emulator_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/kms/emulator"
)

// A copy of the state file, taken while the server runs, is what a crash
// leaves behind: whatever was answered is in it.
func TestStateSurvivesACrash(t *testing.T) {
	b := start(t, t.TempDir())
	id := b.newKey()
	blob := b.ok("Encrypt", "KeyId", id, "Plaintext", "x").str("CiphertextBlob")
	b.ok("CreateAlias", "AliasName", "alias/a", "KeyId", id)
	crashed := t.TempDir()
	state, err := os.ReadFile(filepath.Join(b.dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(crashed, "state.db"), state, 0o600); err != nil {
		t.Fatal(err)
	}
	b.stop()
	for name, dir := range map[string]string{"crash": crashed, "orderly end": b.dir} {
		again := start(t, dir)
		// The certificate that clients were given holds.
		again.http = b.http
		if got := again.ok("Decrypt", "CiphertextBlob", blob).str("Plaintext"); got != "x" {
			t.Errorf("%s: got %q", name, got)
		}
		if got := again.ok("Encrypt", "KeyId", "alias/a", "Plaintext", "y").str("KeyId"); got != id {
			t.Errorf("%s: alias names %q", name, got)
		}
		if !bytes.Equal(b.server.CAPEM(), again.server.CAPEM()) {
			t.Errorf("%s: another authority", name)
		}
		b.http.CloseIdleConnections()
		again.stop()
	}
}

func TestCertificateFile(t *testing.T) {
	b := start(t, t.TempDir())
	path := filepath.Join(b.dir, "ca.pem")
	content, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(content, b.server.CAPEM()) {
		t.Errorf("%v: %q", err, content)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o644 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	entries, err := os.ReadDir(b.dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

func TestNewRefuses(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, c := range []struct {
		name   string
		change func(*emulator.Config)
		want   error
	}{
		{"no state", func(c *emulator.Config) { c.State = "" }, emulator.ErrConfig},
		{"no access key", func(c *emulator.Config) { c.AccessKeyID = "" }, emulator.ErrConfig},
		{"no secret", func(c *emulator.Config) { c.AccessKeySecret = "" }, emulator.ErrConfig},
		{"region", func(c *emulator.Config) { c.Region = "cn hangzhou" }, emulator.ErrConfig},
		{"name", func(c *emulator.Config) { c.SAN = []string{"a/b"} }, emulator.ErrConfig},
		{"empty name", func(c *emulator.Config) { c.SAN = []string{""} }, emulator.ErrConfig},
		{"address", func(c *emulator.Config) { c.Listen = "8443" }, emulator.ErrConfig},
		{"admin address", func(c *emulator.Config) { c.Admin = "8444" }, emulator.ErrConfig},
		{"admin everywhere", func(c *emulator.Config) { c.Admin = ":0" }, emulator.ErrConfig},
		{"admin on all addresses", func(c *emulator.Config) { c.Admin = "0.0.0.0:0" }, emulator.ErrConfig},
		{"admin elsewhere", func(c *emulator.Config) { c.Admin = "192.0.2.1:0" }, emulator.ErrConfig},
		{"admin by name", func(c *emulator.Config) { c.Admin = "example.com:0" }, emulator.ErrConfig},
		{"state is a directory", func(c *emulator.Config) { c.State = filepath.Dir(c.State) }, emulator.ErrState},
		{"port in use", func(c *emulator.Config) { c.Listen = busy.Addr().String() }, syscall.EADDRINUSE},
		{"admin port in use", func(c *emulator.Config) { c.Admin = busy.Addr().String() }, syscall.EADDRINUSE},
		{"certificate nowhere", func(c *emulator.Config) { c.CAOut = filepath.Join(c.State, "ca.pem") }, syscall.ENOTDIR},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := emulator.Config{
				Listen: "127.0.0.1:0", State: filepath.Join(t.TempDir(), "state.db"),
				AccessKeyID: accessKey, AccessKeySecret: secret,
			}
			c.change(&config)
			s, err := emulator.New(config)
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the secret is in %q", err)
			}
		})
	}
}

func TestCloseWithoutServe(t *testing.T) {
	c := emulator.Config{
		Listen: "[::1]:0", State: filepath.Join(t.TempDir(), "state.db"), SAN: []string{"kms.internal", "192.0.2.7", "*.example.com"},
		AccessKeyID: accessKey, AccessKeySecret: secret,
	}
	for range 2 { // the state file is free again
		s, err := emulator.New(c)
		if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
			t.Skip("no IPv6")
		}
		if err != nil {
			t.Fatal(err)
		}
		if s.AdminURL() != "" || !strings.HasPrefix(s.URL(), "https://[::1]:") {
			t.Errorf("at %q, admin %q", s.URL(), s.AdminURL())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
