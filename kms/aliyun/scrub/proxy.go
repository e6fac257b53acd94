package scrub

import (
	"errors"
	"net/http"
	"net/url"
)

// ErrBadProxy: the environment names a proxy by something that is no address.
var ErrBadProxy = errors.New("HTTPS_PROXY is not the address of a proxy")

// ProxyFor follows net/http's rules, not the SDK's, which compile each entry of
// NO_PROXY as a regular expression. net/http's error quotes the proxy's URL,
// which may hold a password, so ours says only which variable is at fault.
func ProxyFor(r *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(r)
	if err != nil {
		return nil, ErrBadProxy
	}
	return u, nil
}
