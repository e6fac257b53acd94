package aliyun

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"
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
		Proxy:                  proxyFor,
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
				return proxyRefusal(r.StatusCode)
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

// proxyFor follows net/http's rules, not the SDK's, which compile each entry of
// NO_PROXY as a regular expression. net/http's error quotes the proxy's URL,
// which may hold a password, so ours says only which variable is at fault.
func proxyFor(r *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(r)
	if err != nil {
		return nil, ErrBadProxy
	}
	return u, nil
}

// ErrBadProxy: the environment names a proxy by something that is no address.
var ErrBadProxy = errors.New("HTTPS_PROXY is not the address of a proxy")
