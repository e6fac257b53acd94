package scrub

import (
	"net"
	"strings"
	"testing"
)

// A certificate of another authority, and a name that does not resolve, have
// hints of their own, and others for the endpoint of an instance.
func TestHintsOfTransport(t *testing.T) {
	const instance, shared = "kst-hzz0emulator0example0.cryptoservice.kms.aliyuncs.com", "kms.cn-nowhere.aliyuncs.com"
	notFound := func(host string) string { return Describe(&net.DNSError{Name: host, IsNotFound: true}, host) }
	for _, c := range []struct{ detail, host, hint string }{
		{notFound(instance), instance, hintVPC},
		{notFound(strings.ToUpper(instance)), strings.ToUpper(instance), hintVPC},
		{Describe(&net.DNSError{Name: instance, IsTimeout: true}, instance), instance, hintVPC},
		{notFound(shared), shared, hintNoHost},
		{"TLS certificate not trusted", instance, hintInstanceCA},
		{"TLS certificate not trusted", shared, hintCA},
		{"TLS certificate not trusted: " + ErrTestOnlyCA.Error(), instance, ""},
		{"TLS certificate is for another host", instance, hintOtherHost},
		{"connection refused", instance, ""},
	} {
		if got := TransportHint(c.detail, c.host); got != c.hint {
			t.Errorf("%s of %s: %q, want %q", c.detail, c.host, got, c.hint)
		}
	}
	for _, h := range transportHints {
		if h.hint != "" && strings.Contains(h.hint, "RAM policy") {
			t.Errorf("%q", h.hint)
		}
	}
}
