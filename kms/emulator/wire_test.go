package emulator_test

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// post sends some parameters in the query and others in a form.
func (b *bench) post(method string, query, form url.Values) (result, error) {
	req, err := http.NewRequest(method, b.server.URL()+"/?"+query.Encode(), strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	}
	return b.do(req)
}

func TestPlacesOfParameters(t *testing.T) {
	b := start(t, t.TempDir())
	id := b.newKey()
	text := "a b+c*d~e/f=é%20\r\n"
	sent := func(method string) url.Values { return request(method, "Encrypt", "KeyId", id, "Plaintext", text) }
	both := func(method string) (query, form url.Values) {
		query, form = sent(method), url.Values{}
		for _, name := range []string{"Plaintext", "Signature", "Action"} {
			form[name] = query[name]
			query.Del(name)
		}
		return query, form
	}
	check := func(name string, r result, err error) {
		t.Helper()
		if err != nil || r.status != 200 {
			t.Fatalf("%s: %v %s", name, err, r.raw)
		}
		if got := b.ok("Decrypt", "CiphertextBlob", r.str("CiphertextBlob")).str("Plaintext"); got != text {
			t.Errorf("%s: got %q", name, got)
		}
	}
	r, err := b.post("GET", sent("GET"), nil)
	check("GET", r, err)
	r, err = b.post("POST", sent("POST"), nil)
	check("POST, query", r, err)
	r, err = b.post("POST", nil, sent("POST"))
	check("POST, form", r, err)
	query, form := both("POST")
	r, err = b.post("POST", query, form)
	check("POST, both", r, err)
	form.Set("KeyId", query.Get("KeyId"))
	form.Del("Signature")
	query.Set("SignatureNonce", "again")
	all := url.Values{}
	for _, v := range []url.Values{query, form} {
		for name := range v {
			all.Set(name, v.Get(name))
		}
	}
	sign("POST", all, secret)
	form.Set("Signature", all.Get("Signature"))
	r, err = b.post("POST", query, form)
	check("the same twice", r, err)
	form.Set("KeyId", "alias/other")
	if r, err = b.post("POST", query, form); err != nil || r.status != 400 || r.code() != "InvalidParameter" {
		t.Errorf("twice with two values: %v %s", err, r.raw)
	}
	// The method is part of what is signed.
	if r, err = b.post("GET", sent("POST"), nil); err != nil || r.code() != "SignatureDoesNotMatch" {
		t.Errorf("signed as another method: %v %s", err, r.raw)
	}
}

func TestAuthentication(t *testing.T) {
	b := start(t, t.TempDir())
	now := func(d time.Duration) string { return time.Now().Add(d).UTC().Format("2006-01-02T15:04:05Z") }
	for _, c := range []struct {
		name   string
		change func(url.Values)
		status int
		code   string
	}{
		{"as it should be", func(v url.Values) {}, 200, ""},
		{"no nonce", func(v url.Values) { v.Del("SignatureNonce") }, 200, ""},
		{"no type, no region", func(v url.Values) { v.Del("SignatureType"); v.Del("RegionId") }, 200, ""},
		{"json", func(v url.Values) { v.Set("Format", "json") }, 200, ""},
		{"no format", func(v url.Values) { v.Del("Format") }, 200, ""},
		{"None", func(v url.Values) { v.Set("Format", "None") }, 200, ""},
		{"another format", func(v url.Values) { v.Set("Format", "YAML") }, 400, "InvalidParameter"},
		{"unknown action", func(v url.Values) { v.Set("Action", "listKeys") }, 404, "InvalidApi.NotFound"},
		{"no action", func(v url.Values) { v.Del("Action") }, 400, "MissingParameter"},
		{"no version", func(v url.Values) { v.Del("Version") }, 400, "MissingParameter"},
		{"other version", func(v url.Values) { v.Set("Version", "2014-05-26") }, 400, "InvalidParameter"},
		{"unknown access key", func(v url.Values) { v.Set("AccessKeyId", "LTAIother") }, 404, "InvalidAccessKeyId.NotFound"},
		{"no access key", func(v url.Values) { v.Del("AccessKeyId") }, 400, "MissingParameter"},
		{"14 minutes ago", func(v url.Values) { v.Set("Timestamp", now(-14*time.Minute)) }, 200, ""},
		{"16 minutes ago", func(v url.Values) { v.Set("Timestamp", now(-16*time.Minute)) }, 400, "InvalidTimeStamp.Expired"},
		{"in 16 minutes", func(v url.Values) { v.Set("Timestamp", now(16*time.Minute)) }, 400, "InvalidTimeStamp.Expired"},
		{"no time", func(v url.Values) { v.Del("Timestamp") }, 400, "IllegalTimestamp"},
		{"odd time", func(v url.Values) { v.Set("Timestamp", "yesterday") }, 400, "InvalidTimeStamp.Format"},
		{"other algorithm", func(v url.Values) { v.Set("SignatureMethod", "HMAC-SHA256") }, 400, "IncompleteSignature"},
		{"other signature version", func(v url.Values) { v.Set("SignatureVersion", "2.0") }, 400, "IncompleteSignature"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := request("POST", "ListKeys")
			c.change(v)
			sign("POST", v, secret)
			r, err := b.send(v)
			if err != nil || r.status != c.status || r.code() != c.code {
				t.Errorf("%v %d %s, want %d %s", err, r.status, r.raw, c.status, c.code)
			}
		})
	}
	v := request("POST", "ListKeys")
	v.Del("Signature")
	if r, err := b.send(v); err != nil || r.code() != "MissingParameter" || r.str("Message") != `The parameter "Signature" is needed but not provided.` {
		t.Errorf("no signature: %v %s", err, r.raw)
	}
	v = request("POST", "ListKeys")
	sign("POST", v, "another secret")
	r, err := b.send(v)
	const echo = "Specified signature is not matched with our calculation. server string to sign is:POST&%2F&AccessKeyId%3DLTAItest%26Action%3DListKeys%26"
	if err != nil || r.status != 400 || r.code() != "SignatureDoesNotMatch" || !strings.HasPrefix(r.str("Message"), echo) {
		t.Errorf("wrong secret: %v %s", err, r.raw)
	}
	if strings.Count(r.str("Message"), ":") != 1 || strings.Contains(r.raw, secret) {
		t.Errorf("wrong secret: message %q", r.str("Message"))
	}
	// A nonce that came with a bad signature is not used up; one that came
	// with a good one is.
	sign("POST", v, secret)
	for i, want := range []string{"", "SignatureNonceUsed"} {
		if r, err := b.send(v); err != nil || r.code() != want {
			t.Errorf("time %d: %v %s", i+1, err, r.raw)
		}
	}
}

func TestErrorShape(t *testing.T) {
	b := start(t, t.TempDir())
	r := b.call("Decrypt")
	id := r.str("RequestId")
	if !uuidForm.MatchString(id) {
		t.Errorf("request id %q", id)
	}
	want := map[string]any{
		"HttpStatus": 400.0, "Code": "MissingParameter", "RequestId": id, "HostId": "kms.cn-hangzhou.aliyuncs.com",
		"Message":   `The parameter "CiphertextBlob" is needed but not provided.`,
		"Recommend": "https://api.aliyun.com/troubleshoot?q=MissingParameter&product=Kms&requestId=" + id,
	}
	if d := cmp.Diff(want, r.body); d != "" {
		t.Errorf("error (-want +got):\n%s", d)
	}
	for _, r := range []result{r, b.ok("ListKeys")} {
		if ct := r.header.Get("Content-Type"); ct != "application/json;charset=utf-8" {
			t.Errorf("content type %q", ct)
		}
		if cl := r.header.Get("Content-Length"); cl != strconv.Itoa(len(r.raw)) {
			t.Errorf("content length %q of %d", cl, len(r.raw))
		}
	}
}

func TestOddRequests(t *testing.T) {
	b := start(t, t.TempDir())
	good := request("POST", "ListKeys").Encode()
	for _, c := range []struct {
		name, method, path, query, contentType, body string
		status                                       int
		code                                         string
	}{
		{"another method", "PUT", "/", good, "", "", 403, "UnsupportedHTTPMethod"},
		{"another path", "POST", "/kms", good, "", "", 404, "InvalidApi.NotFound"},
		{"nothing", "GET", "/", "", "", "", 400, "MissingParameter"},
		{"bad escape", "POST", "/", good + "&x=%zz", "", "", 400, "ParseRequestParameterException"},
		{"semicolon", "POST", "/", good + "&x=1;y=2", "", "", 400, "ParseRequestParameterException"},
		{"not UTF-8", "POST", "/", good + "&x=%ff", "", "", 400, "ParseRequestParameterException"},
		{"twice in the query", "POST", "/", good + "&Action=Encrypt", "", "", 400, "InvalidParameter"},
		{"JSON body", "POST", "/", good, "application/json", "{}", 400, "ParseRequestParameterException"},
		{"long body", "POST", "/", good, "application/x-www-form-urlencoded", "x=" + strings.Repeat("y", 64<<10), 400, "ParseRequestParameterException"},
		{"long query", "GET", "/", good + "&x=" + strings.Repeat("y", 80<<10), "", "", 431, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequest(c.method, b.server.URL()+c.path+"?"+c.query, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.contentType != "" {
				req.Header.Set("Content-Type", c.contentType)
			}
			if r, err := b.do(req); err != nil || r.status != c.status || r.code() != c.code {
				t.Errorf("%v %d %.200s, want %d %s", err, r.status, r.raw, c.status, c.code)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	b := start(t, t.TempDir())
	transport := b.http.Transport.(*http.Transport)
	roots := transport.TLSClientConfig.RootCAs
	addr := strings.TrimPrefix(b.server.URL(), "https://")
	for _, name := range []string{"127.0.0.1", "::1", "localhost", "kms.cn-hangzhou.aliyuncs.com"} {
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: name, NextProtos: []string{"h2", "http/1.1"}})
		if err != nil {
			t.Errorf("as %s: %v", name, err)
			continue
		}
		state := conn.ConnectionState()
		conn.Close()
		if state.NegotiatedProtocol != "http/1.1" {
			t.Errorf("protocol %q", state.NegotiatedProtocol)
		}
		issuer := state.PeerCertificates[0].Issuer
		if issuer.CommonName != "kmsfs emulator TEST ONLY" || len(issuer.Organization) != 1 || issuer.Organization[0] != "TEST ONLY" {
			t.Errorf("issuer %v", issuer)
		}
	}
	for name, c := range map[string]*tls.Config{
		"another name": {RootCAs: roots, ServerName: "kms.cn-beijing.aliyuncs.com"},
		"no authority": {ServerName: "localhost"},
		"TLS 1.1":      {RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
	} {
		if conn, err := tls.Dial("tcp", addr, c); err == nil {
			conn.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}
