package emulator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// issue asks the admin server for a temporary key.
func (b *bench) issue(body string) map[string]any {
	b.t.Helper()
	r := b.admin("POST", "/sts", body)
	if r.status != 200 || len(r.body) != 4 {
		b.t.Fatalf("sts %s: %d %s", body, r.status, r.raw)
	}
	return r.body
}

// as performs an action, RPC-signed, with a key and a token.
func (b *bench) as(id, secret, token any) result {
	b.t.Helper()
	v := request("POST", "ListKeys")
	v.Set("AccessKeyId", id.(string))
	if token.(string) != "" {
		v.Set("SecurityToken", token.(string))
	}
	sign("POST", v, secret.(string))
	r, err := b.send(v)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func TestTokens(t *testing.T) {
	b := start(t, t.TempDir())
	one, two := b.issue(`{"ttl":"1m"}`), b.issue(``)
	if !strings.HasPrefix(one["AccessKeyId"].(string), "STS.") || one["SecurityToken"] == two["SecurityToken"] {
		t.Errorf("issued %v, %v", one, two)
	}
	for name, want := range map[any]time.Duration{one["Expiration"]: time.Minute, two["Expiration"]: time.Hour} {
		at, err := time.Parse("2006-01-02T15:04:05Z", name.(string))
		if left := time.Until(at); err != nil || left > want+time.Second || left < want-20*time.Second {
			t.Errorf("expires in %v, %v; want %v", left, err, want)
		}
	}
	for _, c := range []struct {
		name              string
		id, secret, token any
		status            int
		code              string
	}{
		{"its own", one["AccessKeyId"], one["AccessKeySecret"], one["SecurityToken"], 200, ""},
		{"the other", two["AccessKeyId"], two["AccessKeySecret"], two["SecurityToken"], 200, ""},
		{"another secret", one["AccessKeyId"], two["AccessKeySecret"], one["SecurityToken"], 400, "SignatureDoesNotMatch"},
		{"another key's token", one["AccessKeyId"], one["AccessKeySecret"], two["SecurityToken"], 400, "InvalidSecurityToken.MismatchWithAccessKey"},
		{"no such token", one["AccessKeyId"], one["AccessKeySecret"], "CAISx", 400, "InvalidSecurityToken.Malformed"},
		{"no token", one["AccessKeyId"], one["AccessKeySecret"], "", 404, "InvalidAccessKeyId.NotFound"},
		{"permanent key, a token", accessKey, secret, one["SecurityToken"], 400, "InvalidSecurityToken.MismatchWithAccessKey"},
		{"permanent key, no such token", accessKey, secret, "CAISx", 400, "InvalidSecurityToken.Malformed"},
		{"no such key", "STS.none", "x", one["SecurityToken"], 404, "InvalidAccessKeyId.NotFound"},
	} {
		if r := b.as(c.id, c.secret, c.token); r.status != c.status || r.code() != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, r.status, r.raw, c.status, c.code)
		}
	}
	for _, bad := range []string{`{"ttl":"0s"}`, `{"ttl":"-1s"}`, `{"ttl":"13h"}`, `{"ttl":"soon"}`, `{"ttl":1}`, `{"TTLs":"1s"}`, `x`, `{}{}`} {
		if r := b.admin("POST", "/sts", bad); r.status != 400 || r.str("error") == "" {
			t.Errorf("%s: %d %s", bad, r.status, r.raw)
		}
	}
}

// A temporary key is good until its Expiration, and then refused as expired.
func TestTokenExpires(t *testing.T) {
	b := start(t, t.TempDir())
	k := b.issue(`{"ttl":"1s"}`)
	end, err := time.Parse("2006-01-02T15:04:05Z", k["Expiration"].(string))
	if err != nil {
		t.Fatal(err)
	}
	for {
		asked := time.Now()
		r := b.as(k["AccessKeyId"], k["AccessKeySecret"], k["SecurityToken"])
		if r.status == 400 && r.code() == "InvalidSecurityToken.Expired" {
			if time.Now().Before(end) {
				t.Errorf("expired %v early", time.Until(end))
			}
			return
		}
		if r.status != 200 || asked.After(end) {
			t.Fatalf("asked at %v, the end is %v: %s", asked, end, r.raw)
		}
	}
}

// The memory of the server has an end: the oldest key is forgotten.
func TestTokensAreBounded(t *testing.T) {
	b := start(t, t.TempDir())
	first := b.issue(``)
	var last map[string]any
	for range 4096 {
		last = b.issue(``)
	}
	for name, c := range map[string]struct {
		key  map[string]any
		want string
	}{"first": {first, "InvalidAccessKeyId.NotFound"}, "last": {last, ""}} {
		if got := b.as(c.key["AccessKeyId"], c.key["AccessKeySecret"], c.key["SecurityToken"]).code(); got != c.want {
			t.Errorf("%s: %q, want %q", name, fmt.Sprint(got), c.want)
		}
	}
}
