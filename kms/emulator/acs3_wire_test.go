package emulator_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// acs3 is a client's own reading of the ACS3 rules: a request with parameters
// in the query and in a form. change alters it before it is signed.
func (b *bench) acs3(action string, query, form url.Values, change func(http.Header)) *http.Request {
	b.t.Helper()
	body := form.Encode()
	req, err := http.NewRequest("POST", b.server.URL()+"/?"+query.Encode(), strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	hash := sha256.Sum256([]byte(body))
	req.Header = http.Header{
		"X-Acs-Action": {action}, "X-Acs-Version": {"2016-01-20"}, "X-Acs-Signature-Nonce": {rand.Text()},
		"X-Acs-Date":           {time.Now().UTC().Format("2006-01-02T15:04:05Z")},
		"X-Acs-Content-Sha256": {hex.EncodeToString(hash[:])},
		"Content-Type":         {"application/x-www-form-urlencoded"},
	}
	if change != nil {
		change(req.Header)
	}
	names := []string{"host"}
	for name := range req.Header {
		names = append(names, strings.ToLower(name))
	}
	signACS3(req, names, accessKey, secret)
	return req
}

func signACS3(req *http.Request, names []string, id, secret string) {
	slices.Sort(names)
	text := req.Method + "\n/\n" + strings.ReplaceAll(req.URL.Query().Encode(), "+", "%20") + "\n"
	for _, name := range names {
		value := req.Header.Get(name)
		if name == "host" {
			value = req.URL.Host
		}
		text += name + ":" + strings.TrimSpace(value) + "\n"
	}
	text += "\n" + strings.Join(names, ";") + "\n" + req.Header.Get("X-Acs-Content-Sha256")
	hash := sha256.Sum256([]byte(text))
	mac := hmac.New(sha256.New, []byte(secret))
	io.WriteString(mac, "ACS3-HMAC-SHA256\n"+hex.EncodeToString(hash[:]))
	req.Header.Set("Authorization", "ACS3-HMAC-SHA256 Credential="+id+",SignedHeaders="+strings.Join(names, ";")+
		",Signature="+hex.EncodeToString(mac.Sum(nil)))
}

func (b *bench) sendOK(name string, req *http.Request) result {
	b.t.Helper()
	r, err := b.do(req)
	if err != nil || r.status != 200 {
		b.t.Errorf("%s: %v %d %s", name, err, r.status, r.raw)
	}
	return r
}

func TestACS3(t *testing.T) {
	b := start(t, t.TempDir())
	id := b.newKey()
	const text = "a b+c*d~e/f=é%20\r\n"
	v := url.Values{"KeyId": {id}, "Plaintext": {text}, "EncryptionContext": {`{"a":"b c*~"}`}}
	for name, req := range map[string]*http.Request{
		"query": b.acs3("Encrypt", v, nil, nil),
		"body":  b.acs3("Encrypt", nil, v, nil),
		"both":  b.acs3("Encrypt", url.Values{"KeyId": {id}, "empty": {""}}, url.Values{"Plaintext": {text}, "EncryptionContext": v["EncryptionContext"]}, nil),
	} {
		sealed := b.sendOK(name, req)
		if got := b.ok("Decrypt", "CiphertextBlob", sealed.str("CiphertextBlob"), "EncryptionContext", `{"a":"b c*~"}`).str("Plaintext"); got != text {
			t.Errorf("%s: got %q", name, got)
		}
	}
	k := b.issue(``)
	req := b.acs3("ListKeys", nil, nil, nil)
	req.Header.Set("X-Acs-Security-Token", k["SecurityToken"].(string))
	signACS3(req, []string{"host", "content-type", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256", "x-acs-security-token"},
		k["AccessKeyId"].(string), k["AccessKeySecret"].(string))
	b.sendOK("token", req)
	if got := b.admin("GET", "/stats", "").body["calls"].(map[string]any)["Encrypt"]; got != 3.0 {
		t.Errorf("counted %v", got)
	}
}

func TestACS3Refuses(t *testing.T) {
	b := start(t, t.TempDir())
	set := func(name, value string) func(http.Header) {
		return func(h http.Header) { h.Set(name, value) }
	}
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format("2006-01-02T15:04:05Z") }
	after := func(change func(http.Header)) *http.Request { // it was signed
		req := b.acs3("ListKeys", url.Values{"PageSize": {"1"}}, nil, nil)
		change(req.Header)
		return req
	}
	authorization := func(old, new string) func(http.Header) {
		return func(h http.Header) {
			was := h.Get("Authorization")
			if !strings.Contains(was, old) {
				t.Fatalf("no %q in %q", old, was)
			}
			h.Set("Authorization", strings.Replace(was, old, new, 1))
		}
	}
	other := b.acs3("ListKeys", nil, nil, nil)
	other.URL.RawQuery = "PageSize=1"
	body := b.acs3("ListKeys", nil, url.Values{"PageSize": {"1"}}, nil)
	body.Body = io.NopCloser(strings.NewReader("PageSize=2"))
	stolen := b.acs3("ListKeys", nil, nil, nil)
	stolen.Host = "kms.cn-beijing.aliyuncs.com"
	for _, c := range []struct {
		name   string
		req    *http.Request
		status int
		code   string
	}{
		{"as it should be", after(func(http.Header) {}), 200, ""},
		{"14 minutes ago", b.acs3("ListKeys", nil, nil, set("X-Acs-Date", at(-14*time.Minute))), 200, ""},
		{"16 minutes ago", b.acs3("ListKeys", nil, nil, set("X-Acs-Date", at(-16*time.Minute))), 400, "InvalidTimeStamp.Expired"},
		{"odd time", b.acs3("ListKeys", nil, nil, set("X-Acs-Date", "now")), 400, "InvalidTimeStamp.Format"},
		{"no time", b.acs3("ListKeys", nil, nil, func(h http.Header) { h.Del("X-Acs-Date") }), 400, "IllegalTimestamp"},
		{"no action", b.acs3("ListKeys", nil, nil, func(h http.Header) { h.Del("X-Acs-Action") }), 400, "MissingParameter"},
		{"action among the parameters", b.acs3("ListKeys", url.Values{"Action": {"ListKeys"}}, nil, func(h http.Header) { h.Del("X-Acs-Action") }), 400, "MissingParameter"},
		{"no version", b.acs3("ListKeys", nil, nil, func(h http.Header) { h.Del("X-Acs-Version") }), 400, "MissingParameter"},
		{"other version", b.acs3("ListKeys", nil, nil, set("X-Acs-Version", "2014-05-26")), 400, "InvalidParameter"},
		{"unknown action", b.acs3("listkeys", nil, nil, nil), 404, "InvalidApi.NotFound"},
		{"no token of ours", b.acs3("ListKeys", nil, nil, set("X-Acs-Security-Token", "CAISx")), 400, "InvalidSecurityToken.Malformed"},
		{"other parameters", other, 400, "SignatureDoesNotMatch"},
		{"other body", body, 400, "SignatureDoesNotMatch"},
		{"other host", stolen, 400, "SignatureDoesNotMatch"},
		{"other nonce", after(set("X-Acs-Signature-Nonce", "x")), 400, "SignatureDoesNotMatch"},
		{"another action", after(set("X-Acs-Action", "CreateKey")), 400, "SignatureDoesNotMatch"},
		{"a header more", after(set("X-Acs-Security-Token", "x")), 400, "IncompleteSignature"},
		{"a header less", after(func(h http.Header) { h.Del("X-Acs-Date") }), 400, "IncompleteSignature"},
		{"unknown access key", after(authorization("Credential="+accessKey, "Credential=LTAIother")), 404, "InvalidAccessKeyId.NotFound"},
		{"unsigned host", after(authorization("host;", "")), 400, "IncompleteSignature"},
		{"unsigned date", after(authorization("x-acs-date;", "")), 400, "IncompleteSignature"},
		{"no credential", after(authorization("Credential=", "Cred=")), 400, "IncompleteSignature"},
		{"no signature", after(authorization("Signature=", "Sign=")), 400, "IncompleteSignature"},
		{"no list", after(authorization("SignedHeaders=", "Headers=")), 400, "IncompleteSignature"},
		{"other algorithm", after(authorization("ACS3-HMAC-SHA256", "ACS3-HMAC-SM3")), 400, "IncompleteSignature"},
		{"ACS4", after(authorization("ACS3", "ACS4")), 400, "IncompleteSignature"},
		{"no ACS at all", after(set("Authorization", "Basic eDp5")), 400, "MissingParameter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := b.do(c.req)
			if err != nil || r.status != c.status || r.code() != c.code {
				t.Errorf("%v %d %s, want %d %s", err, r.status, r.raw, c.status, c.code)
			}
		})
	}
	// A replay, and what a client is told that has another secret.
	req := b.acs3("ListKeys", nil, nil, nil)
	for _, want := range []string{"", "SignatureNonceUsed"} {
		if r, err := b.do(req); err != nil || r.code() != want {
			t.Errorf("%v %s, want %q", err, r.raw, want)
		}
	}
	req = b.acs3("ListKeys", url.Values{"PageSize": {"1"}}, nil, nil)
	signACS3(req, []string{"host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version"}, accessKey, "another")
	r, err := b.do(req)
	h := req.Header
	canonical := "POST\n/\nPageSize=1\nhost:" + req.URL.Host + "\nx-acs-action:ListKeys\nx-acs-content-sha256:" + h.Get("X-Acs-Content-Sha256") +
		"\nx-acs-date:" + h.Get("X-Acs-Date") + "\nx-acs-signature-nonce:" + h.Get("X-Acs-Signature-Nonce") + "\nx-acs-version:2016-01-20\n" +
		"\nhost;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version\n" + h.Get("X-Acs-Content-Sha256")
	hash := sha256.Sum256([]byte(canonical))
	want := "Specified signature does not match our calculation. server StringToSign is [ACS3-HMAC-SHA256\n" + hex.EncodeToString(hash[:]) +
		"] server CanonicalRequest is [" + canonical + "]"
	if err != nil || r.status != 400 || r.code() != "SignatureDoesNotMatch" || r.str("Message") != want {
		t.Errorf("%v %d %q\nwant %q", err, r.status, r.str("Message"), want)
	}
}
