package aliyun

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
	"github.com/kmsfs/kmsfs/kms/aliyun/credentials"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

var someKey = credentials.AccessKey{AccessKeyID: accessKey, AccessKeySecret: secretKey, SecurityToken: token}

func TestEndpoint(t *testing.T) {
	for _, tt := range []struct {
		region, endpoint string
		vpc              bool
		want             string
		err              error
	}{
		{"cn-hangzhou", "", false, "kms.cn-hangzhou.aliyuncs.com", nil},
		{"cn-hangzhou", "", true, "kms-vpc.cn-hangzhou.aliyuncs.com", nil},
		{"cn-hangzhou", "kst-hzz.cryptoservice.kms.aliyuncs.com", false, "kst-hzz.cryptoservice.kms.aliyuncs.com", nil},
		{"cn-hangzhou", "127.0.0.1:8443", false, "127.0.0.1:8443", nil},
		{"cn-hangzhou", "[::1]:8443", false, "[::1]:8443", nil},
		{"cn-hangzhou", "localhost:1", false, "localhost:1", nil},
		{"cn-hangzhou", "host:65535", false, "host:65535", nil},
		{"", "", false, "", ErrBadRegion},
		{"cn hangzhou", "", false, "", ErrBadRegion},
		{"cn-hangzhou.evil.example/", "", false, "", ErrBadRegion},
		{"cn-hangzhou\n", "", false, "", ErrBadRegion},
		{"r", "https://kms.example", false, "", ErrBadEndpoint},
		{"r", "http://kms.example", false, "", ErrBadEndpoint},
		{"r", "user:canary@kms.example", false, "", ErrBadEndpoint},
		{"r", "canary@kms.example", false, "", ErrBadEndpoint},
		{"r", "kms.example/path", false, "", ErrBadEndpoint},
		{"r", "kms.example?canary", false, "", ErrBadEndpoint},
		{"r", "kms.example#canary", false, "", ErrBadEndpoint},
		{"r", " kms.example", false, "", ErrBadEndpoint},
		{"r", "kms.example\n", false, "", ErrBadEndpoint},
		{"r", "kms.example:", false, "", ErrBadEndpoint},
		{"r", "kms.example:0", false, "", ErrBadEndpoint},
		{"r", "kms.example:65536", false, "", ErrBadEndpoint},
		{"r", "kms.example:+80", false, "", ErrBadEndpoint},
		{"r", "kms.example:https", false, "", ErrBadEndpoint},
		{"r", ":443", false, "", ErrBadEndpoint},
		{"r", "::1", false, "", ErrBadEndpoint},
		{"r", "[::1]", false, "", ErrBadEndpoint},
		{"r", "[fe80::1%25eth0]:443", false, "", ErrBadEndpoint},
		{"r", "kms..example", false, "", ErrBadEndpoint},
		{"r", "kms.example.", false, "", ErrBadEndpoint},
		{"r", "-kms.example", false, "", ErrBadEndpoint},
		{"r", "k\u00e4ms.example", false, "", ErrBadEndpoint},
		{"r", "%63anary.example", false, "", ErrBadEndpoint},
		{"r", strings.Repeat("a.", 130) + "a", false, "", ErrBadEndpoint},
	} {
		c, err := New(Config{Region: tt.region, Endpoint: tt.endpoint, VPC: tt.vpc, Credentials: someKey})
		switch {
		case !errors.Is(err, tt.err) || tt.err == nil && err != nil:
			t.Errorf("%q, %q: %v, want %v", tt.region, tt.endpoint, err, tt.err)
		case err == nil && c.known.Load().endpoint != tt.want:
			t.Errorf("%q, %q: %q, want %q", tt.region, tt.endpoint, c.known.Load().endpoint, tt.want)
		case err != nil:
			cloudtest.Clean(t, tt.endpoint, errors.New(strings.ReplaceAll(err.Error(), "https://", "")))
			if !strings.HasPrefix(err.Error(), "check ") {
				t.Errorf("%q is not verb noun: cause", err)
			}
		}
	}
	if _, err := New(Config{Region: "r", Endpoint: "h", VPC: true, Credentials: someKey}); err == nil {
		t.Error("endpoint and vpc together: accepted")
	}
}

// However a Config is printed, the secrets do not show.
func TestCredentialsDoNotPrint(t *testing.T) {
	cfg := Config{Region: "r", Credentials: someKey}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "credentials", cfg.Credentials, "pointer", &cfg.Credentials)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&log, format+format+format, cfg, cfg.Credentials, &cfg.Credentials)
	}
	log.WriteString(cloudtest.JSON(cfg.Credentials))
	for _, secret := range []string{accessKey, secretKey, token} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%s is in %s", secret, log.String())
		}
	}
}

func TestCheckEnvironment(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		ok          bool
	}{
		{"DEBUG", "", true}, {"DEBUG", "1", true}, {"DEBUG", "sdk", false}, {"DEBUG", "app,sdk", false}, {"DEBUG", "credential", false},
		{"GODEBUG", "", true}, {"GODEBUG", "gctrace=1", true}, {"GODEBUG", "http2debug=2", false}, {"GODEBUG", "gctrace=1,http2debug=1", false},
	} {
		err := CheckEnvironment(func(k string) string { return map[string]string{tt.name: tt.value}[k] })
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrUnsafeEnvironment) {
			t.Errorf("%s=%s: %v", tt.name, tt.value, err)
		}
	}
	t.Setenv("DEBUG", "x,sdk")
	if _, err := New(Config{Region: "r", Credentials: someKey}); !errors.Is(err, ErrUnsafeEnvironment) {
		t.Errorf("New under DEBUG=x,sdk: %v", err)
	}
}

// authority makes a self-signed certificate for 127.0.0.1.
func authority(t *testing.T, subject pkix.Name) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestCAFile(t *testing.T) {
	_, good := authority(t, pkix.Name{CommonName: "private"})
	_, byName := authority(t, pkix.Name{CommonName: "kms-emulator TEST ONLY"})
	_, byOrganization := authority(t, pkix.Name{CommonName: "x", Organization: []string{"y", "Test Only z"}})
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(path string, allow bool) error {
		_, err := New(Config{Region: "r", CAFile: path, AllowEmulator: allow, Credentials: someKey})
		return err
	}
	for name, tt := range map[string]struct {
		path string
		want string
	}{
		"one":               {writeFile(t, good), ""},
		"text around it":    {writeFile(t, "hello\n"+good+"\nbye"), ""},
		"missing":           {filepath.Join(t.TempDir(), "x"), "no such file or directory"},
		"empty":             {writeFile(t, ""), "no certificate in it"},
		"no PEM":            {writeFile(t, "canary"), "no certificate in it"},
		"a key":             {writeFile(t, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "no certificate in it"},
		"malformed":         {writeFile(t, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "a certificate in it is malformed"},
		"directory":         {t.TempDir(), "not a regular file"},
		"FIFO":              {fifo, "not a regular file"},
		"too long":          {writeFile(t, good+strings.Repeat(" ", maxCAFile)), "longer than"},
		"test only":         {writeFile(t, byName), "allow_emulator"},
		"test only, second": {writeFile(t, good+byOrganization), "allow_emulator"},
	} {
		err := load(tt.path, false)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "read ca_file: ")) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if strings.HasPrefix(name, "test only") {
			if !errors.Is(err, scrub.ErrTestOnlyCA) {
				t.Errorf("%s: %v is not ErrTestOnlyCA", name, err)
			}
			if err := load(tt.path, true); err != nil {
				t.Errorf("%s with allow_emulator: %v", name, err)
			}
		}
	}
	if err := load(filepath.Join(t.TempDir(), "x"), false); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "read ca_file: open /") {
		t.Errorf("missing: %v", err)
	}
}

// An emulator's authority is refused at the handshake too, wherever the trust
// in it comes from.
func TestTestOnlyAtHandshake(t *testing.T) {
	cert, text := authority(t, pkix.Name{CommonName: "kms-emulator TEST ONLY"})
	s := httptest.NewUnstartedServer(cloudtest.Answering(200, cloudtest.DecryptAnswer("x")))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	defer s.Close()
	path := writeFile(t, text)
	allow := func(c *Config) { c.AllowEmulator = true }
	c := clientFor(t, s.Listener.Addr().String(), path, allow)
	if _, err := c.Decrypt(context.Background(), blobOf(t, 1), nil); err != nil {
		t.Errorf("with allow_emulator: %v", err)
	}
	// As if the authority were among the system's roots.
	c = clientFor(t, s.Listener.Addr().String(), path, allow)
	c.pooled.TLSClientConfig = tlsConfig(c.pooled.TLSClientConfig.RootCAs, false)
	_, err := c.Decrypt(context.Background(), blobOf(t, 1), nil)
	cloudtest.WantClass(t, "without", err, kms.ErrTransient)
	if err == nil || !strings.Contains(err.Error(), "TEST ONLY") {
		t.Errorf("without allow_emulator: %v", err)
	}
}

// What the administrator should know is one WARN line each, and nothing is
// said in the normal case.
func TestWarnings(t *testing.T) {
	_, ca := authority(t, pkix.Name{CommonName: "private"})
	path := writeFile(t, ca)
	for name, tt := range map[string]struct {
		cfg  Config
		env  map[string]string
		want []string
	}{
		"normal":        {Config{}, nil, nil},
		"VPC":           {Config{VPC: true}, nil, nil},
		"dedicated":     {Config{Endpoint: "kst-x.cryptoservice.KMS.aliyuncs.com:443"}, nil, nil},
		"outside":       {Config{Endpoint: "127.0.0.1:8443"}, nil, []string{"endpoint 127.0.0.1:8443"}},
		"look-alike":    {Config{Endpoint: "evilaliyuncs.com"}, nil, []string{"endpoint evilaliyuncs.com"}},
		"look-alike 2":  {Config{Endpoint: "aliyuncs.com.evil.example"}, nil, []string{"endpoint aliyuncs.com.evil.example"}},
		"ca_file":       {Config{CAFile: path}, map[string]string{"SSL_CERT_FILE": "/x"}, []string{"ca_file"}},
		"SSL_CERT_FILE": {Config{}, map[string]string{"SSL_CERT_FILE": "/x"}, []string{"SSL_CERT_FILE"}},
		"SSL_CERT_DIR":  {Config{}, map[string]string{"SSL_CERT_DIR": "/x"}, []string{"SSL_CERT_DIR"}},
		"both":          {Config{CAFile: path, Endpoint: "h"}, nil, []string{"endpoint h", "ca_file"}},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			var log bytes.Buffer
			cfg := tt.cfg
			cfg.Region, cfg.Credentials = "cn-hangzhou", someKey
			cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
			c, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			got := c.Warnings()
			if len(got) != len(tt.want) || strings.Count(log.String(), "level=WARN") != len(tt.want) || strings.Count(log.String(), "\n") != len(tt.want) {
				t.Fatalf("%q, logged %q; want %q", got, log.String(), tt.want)
			}
			for i, w := range tt.want {
				if !strings.HasPrefix(got[i], w) || strings.Contains(got[i], "\n") {
					t.Errorf("%q, want %q", got[i], w)
				}
			}
		})
	}
}

// Whose region counts, and that New needs no network to leave it open.
func TestRegionOfSource(t *testing.T) {
	dir := t.TempDir()
	profile := map[string]any{"name": "a", "mode": "AK", "access_key_id": accessKey, "access_key_secret": secretKey, "region_id": "cn-a"}
	text := cloudtest.JSON(map[string]any{"current": "a", "profiles": []any{profile}})
	if err := errors.Join(os.Mkdir(dir+"/.aliyun", 0o700), os.WriteFile(dir+"/.aliyun/config.json", []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	find := func(env map[string]string) *credentials.Source {
		t.Helper()
		s, err := credentials.Find(credentials.Options{Getenv: func(name string) string { return env[name] }})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, tt := range map[string]struct {
		s      *credentials.Source
		region string
		want   string // endpoint
		err    error
	}{
		"given":          {find(map[string]string{"HOME": dir}), "cn-beijing", "kms.cn-beijing.aliyuncs.com", nil},
		"of the profile": {find(map[string]string{"HOME": dir}), "", "kms.cn-a.aliyuncs.com", nil},
		"later":          {find(map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": accessKey, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secretKey}), "", "", nil},
		"none": {find(map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": accessKey, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secretKey, "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}),
			"", "", ErrBadRegion},
	} {
		c, err := New(Config{Region: tt.region, Credentials: tt.s})
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		d := c.known.Load()
		if tt.want == "" && d != nil || tt.want != "" && (d == nil || d.endpoint != tt.want) {
			t.Errorf("%s: %v, want %q", name, d, tt.want)
		}
		c.Close()
	}
}

// A client has no use for a key of which a part is missing, and says so before
// any call.
func TestNewChecksCredentials(t *testing.T) {
	for name, keys := range map[string]credentials.Provider{"none": nil, "half": credentials.AccessKey{AccessKeyID: accessKey}} {
		_, err := New(Config{Region: "r", Credentials: keys})
		if !errors.Is(err, credentials.ErrNone) && !errors.Is(err, credentials.ErrHalf) {
			t.Errorf("%s: %v", name, err)
		}
		cloudtest.Clean(t, name, err)
	}
}
