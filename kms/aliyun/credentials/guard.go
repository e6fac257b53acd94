package credentials

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"

	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

// guardLibrary puts a guard where every request of the library passes. It sends
// each through a clone of http.DefaultTransport, with a client of its own that
// follows redirects; the Proxy function is the one place to see a request
// before it leaves. Nothing else in the program uses http.DefaultTransport, and
// other requests would not be touched.
var guardLibrary = sync.OnceFunc(func() {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return // the library would panic, which is caught
	}
	t = t.Clone()
	others := t.Proxy
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t.Protocols, t.ForceAttemptHTTP2 = protocols, false
	t.MaxResponseHeaderBytes = 32 << 10
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		if !strings.Contains(r.UserAgent(), " Credentials/") && others != nil {
			return others(r)
		}
		return libraryRoute(r)
	}
	http.DefaultTransport = t
})

var (
	errRedirected = errors.New("it answered with a redirect, which is not followed")
	errPlainHTTP  = errors.New("plain HTTP is only for this machine")
)

// libraryRoute decides how a request of the library travels, or that it must
// not.
func libraryRoute(r *http.Request) (*url.URL, error) {
	host := r.URL.Hostname()
	switch {
	case r.Response != nil:
		return nil, errRedirected
	case host == metadataHost:
		return nil, nil // it is on this machine; a proxy would see the tokens
	case r.URL.Scheme != "https" && !onThisMachine(host):
		return nil, errPlainHTTP
	case onThisMachine(host):
		return nil, nil
	}
	return scrub.ProxyFor(r)
}

func onThisMachine(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
