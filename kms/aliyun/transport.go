package aliyun

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

// newTransport is what all calls share. It is never handed to the SDK, which
// would overwrite its dialer and its proxy on every call; an exchange stands
// between.
func newTransport(cfg Config, tlsCfg *tls.Config) *http.Transport {
	// A call's context ends first. These bound the dials that go on in the
	// background after their call has given up.
	background := cfg.timeout() + time.Second
	dialer := &net.Dialer{Timeout: background, KeepAlive: 15 * time.Second}
	t := new(http.Transport)
	// Not through a proxy: there net/http dials and speaks TLS by itself.
	dialTLS := func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, background)
		defer cancel()
		c, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		named := t.TLSClientConfig.Clone()
		if host, _, err := net.SplitHostPort(addr); err == nil && named.ServerName == "" {
			named.ServerName = host
		}
		secure := tls.Client(&recordReader{Conn: c}, named)
		if err := secure.HandshakeContext(ctx); err != nil {
			c.Close()
			return nil, err
		}
		return clearingReader{secure}, nil
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // HTTP/2's debug switch prints answers
	*t = http.Transport{
		Proxy:                  scrub.ProxyFor,
		DialContext:            dialer.DialContext,
		DialTLSContext:         dialTLS,
		TLSClientConfig:        tlsCfg,
		TLSHandshakeTimeout:    background,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
		Protocols:              protocols,
		MaxIdleConns:           cfg.maxConns(),
		MaxIdleConnsPerHost:    cfg.maxConns(),
		MaxConnsPerHost:        cfg.maxConns(),
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: 32 << 10,
		DisableCompression:     true,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, r *http.Response) error {
			if r.StatusCode != http.StatusOK {
				return scrub.ProxyRefusal(r.StatusCode)
			}
			return nil
		},
	}
	return t
}

// oneShot returns a transport of the same settings that never reuses a
// connection: the retry after a connection that the server closed while it was
// idle must not meet the next one of that kind.
func oneShot(t *http.Transport) *http.Transport {
	t = t.Clone()
	t.DisableKeepAlives = true
	return t
}
