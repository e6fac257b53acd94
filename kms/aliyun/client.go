package aliyun

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync/atomic"
	"time"

	sdkkms "github.com/aliyun/alibaba-cloud-sdk-go/services/kms"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/credentials"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

var (
	_ kms.Decrypter = (*Client)(nil)
	_ kms.Encrypter = (*Client)(nil)
)

// Config says where the service is and who asks. It prints without secrets.
type Config struct {
	Region        string               // for example cn-hangzhou; empty: that of the profile of a credentials.Source, else of this instance
	Endpoint      string               // host or host:port; empty: the region's own
	CAFile        string               // PEM file with the only authorities to trust; empty: the system's
	VPC           bool                 // use the region's VPC endpoint
	AllowEmulator bool                 // trust an authority that is marked TEST ONLY
	Timeout       time.Duration        // bound on one call; 0: 3s
	MaxConns      int                  // connections to the service; 0: 32
	Credentials   credentials.Provider // nil or zero: New returns credentials.ErrNone
	Log           *slog.Logger         // for the warnings; nil: none

	// Repeat is asked before a request is sent again within one call, because
	// of renewed credentials or of a connection that the server had closed;
	// an error is a no. nil: yes.
	Repeat func(context.Context) error
}

func (c Config) timeout() time.Duration {
	if c.Timeout <= 0 {
		return 3 * time.Second
	}
	return c.Timeout
}

func (c Config) maxConns() int {
	if c.MaxConns <= 0 {
		return 32
	}
	return c.MaxConns
}

// Client calls Alibaba Cloud KMS. It is safe for concurrent use.
type Client struct {
	cfg      Config
	known    atomic.Pointer[destination] // nil until the region is known
	timeout  time.Duration
	keys     credentials.Provider
	pooled   *http.Transport
	fresh    *http.Transport // never reuses a connection
	warnings []string
}

// New checks everything that can be checked without the network. Its errors
// are free of secrets.
func New(cfg Config) (*Client, error) {
	if err := CheckEnvironment(os.Getenv); err != nil {
		return nil, err
	}
	if cfg.Credentials == nil {
		cfg.Credentials = credentials.AccessKey{}
	}
	if err := cfg.Credentials.Check(); err != nil {
		return nil, err
	}
	source, _ := cfg.Credentials.(*credentials.Source)
	if cfg.Region == "" && source != nil {
		cfg.Region, _ = source.Region()
	}
	later := cfg.Region == "" && source != nil && source.AsksInstance() // the instance's, at the first call
	hint := cfg
	if later {
		hint.Region = "unknown"
	}
	endpoint, err := endpointOf(hint)
	if err != nil {
		return nil, err
	}
	roots, err := rootsFrom(cfg.CAFile, cfg.AllowEmulator)
	if err != nil {
		return nil, err
	}
	proxy, err := scrub.ProxyFor(&http.Request{URL: &url.URL{Scheme: "https", Host: endpoint}})
	if err != nil {
		return nil, fmt.Errorf("read proxy: %w", err)
	}
	// The SDK fills this map on first use without a lock.
	sdkkms.GetEndpointMap()
	transport := newTransport(cfg, tlsConfig(roots, cfg.AllowEmulator))
	c := &Client{
		cfg:      cfg,
		timeout:  cfg.timeout(),
		keys:     cfg.Credentials,
		pooled:   transport,
		fresh:    oneShot(transport),
		warnings: warningsFor(cfg, endpoint, proxy, os.Getenv),
	}
	if !later {
		c.known.Store(&destination{cfg.Region, endpoint})
	}
	if source != nil {
		c.warnings = append(c.warnings, source.Warnings()...)
	}
	if cfg.Log != nil {
		for _, w := range c.warnings {
			cfg.Log.Warn(w)
		}
	}
	return c, nil
}

// warningsFor lists what makes somebody else than Alibaba Cloud, as the system
// knows it, see or answer the calls.
func warningsFor(cfg Config, endpoint string, proxy *url.URL, getenv func(string) string) []string {
	var w []string
	if !isAliyun(hostname(endpoint)) {
		w = append(w, "endpoint "+endpoint+" is outside aliyuncs.com: it receives every ciphertext and chooses every plaintext")
	}
	if cfg.CAFile != "" {
		w = append(w, fmt.Sprintf("ca_file %q is in force: its authorities are trusted instead of the system's", cfg.CAFile))
	} else {
		for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} {
			if getenv(name) != "" {
				w = append(w, name+" is in force: its authorities are trusted instead of the system's")
			}
		}
	}
	if proxy != nil {
		w = append(w, fmt.Sprintf("proxy %q is in force", proxy.Host)) // never its user and password
	}
	return w
}

// Warnings returns what the administrator should know, one line each. New has
// logged them already.
func (c *Client) Warnings() []string { return slices.Clone(c.warnings) }

// Close drops the idle connections. Calls in flight end normally.
func (c *Client) Close() {
	c.pooled.CloseIdleConnections()
	c.fresh.CloseIdleConnections()
}
