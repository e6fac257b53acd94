package credentials

import (
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"testing"

	"github.com/aliyun/credentials-go/credentials/providers"
)

// The library tells nobody when its credentials expire. A new version that
// keeps the time elsewhere must not go unnoticed.
func TestLibraryKeepsExpiry(t *testing.T) {
	for _, p := range []libraryProvider{
		&providers.ECSRAMRoleCredentialsProvider{}, &providers.RAMRoleARNCredentialsProvider{}, &providers.OIDCCredentialsProvider{},
		&providers.URLCredentialsProvider{}, &providers.CloudSSOCredentialsProvider{}, &providers.OAuthCredentialsProvider{},
	} {
		f, ok := reflect.TypeOf(p).Elem().FieldByName("expirationTimestamp")
		if !ok || f.Type.Kind() != reflect.Int64 {
			t.Errorf("%T has no int64 expirationTimestamp", p)
		}
		if !expiryOf(p).IsZero() {
			t.Errorf("%T expires before it has anything", p)
		}
	}
}

// Which requests of the library leave, and how.
func TestLibraryRoute(t *testing.T) {
	for target, want := range map[string]error{
		"http://100.100.100.200/latest/api/token": nil,
		"https://sts.aliyuncs.com/?x":             nil,
		"http://127.0.0.1:7002/":                  nil,
		"http://localhost/":                       nil,
		"http://[::1]:80/":                        nil,
		"http://sts.aliyuncs.com/":                errPlainHTTP,
		"http://100.100.100.201/":                 errPlainHTTP,
		"http://localhost.evil.example/":          errPlainHTTP,
		"ftp://sts.aliyuncs.com/":                 errPlainHTTP,
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := libraryRoute(&http.Request{URL: u}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", target, err, want)
		}
		if _, err := libraryRoute(&http.Request{URL: u, Response: &http.Response{}}); !errors.Is(err, errRedirected) {
			t.Errorf("%s, redirected: %v", target, err)
		}
	}
}

// Requests that are not the library's keep the proxy function they had.
func TestGuardIsNarrow(t *testing.T) {
	guardLibrary()
	r, err := http.NewRequest("GET", "http://sts.aliyuncs.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	proxy := http.DefaultTransport.(*http.Transport).Proxy
	if _, err := proxy(r); err != nil {
		t.Errorf("another's request: %v", err)
	}
	r.Header.Set("User-Agent", "AlibabaCloud (linux; amd64) Golang/1.26 Credentials/v1.4.14 TeaDSL/1")
	if _, err := proxy(r); !errors.Is(err, errPlainHTTP) {
		t.Errorf("the library's request: %v", err)
	}
}
