package aliyun

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	sdkkms "github.com/aliyun/alibaba-cloud-sdk-go/services/kms"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// No error, however it arises, holds plaintext, blob, token, key or URL, and
// each has the class its cause deserves.
func TestErrorsHoldNoSecret(t *testing.T) {
	hijacked := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // closing over unread data would reset the connection
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(conn, answer)
			conn.Close()
		}
	}
	leak := `"Plaintext":"` + canaryBlob + `canary"`
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		class   error
	}{
		"signature mismatch":     {cloudtest.Echo(400, "SignatureDoesNotMatch"), kms.ErrAuthentication},
		"incomplete signature":   {cloudtest.Echo(400, "IncompleteSignature"), kms.ErrAuthentication},
		"denied with detail":     {cloudtest.Echo(403, "Forbidden.NoPermission"), kms.ErrDenied},
		"throttled":              {cloudtest.Echo(429, "Rejected.Throttling"), kms.ErrTransient},
		"internal":               {cloudtest.Echo(500, "InternalFailure"), kms.ErrTransient},
		"code is a canary":       {cloudtest.Echo(500, "canary canary"), kms.ErrTransient},
		"code is a URL":          {cloudtest.Echo(500, "https://canary/"), kms.ErrTransient},
		"HTML 502":               {cloudtest.Answering(502, "<html>canary "+plaintext), kms.ErrTransient},
		"HTML 403":               {cloudtest.Answering(403, "<html>canary "+plaintext), kms.ErrBadAnswer},
		"HTML 200":               {cloudtest.Answering(200, "<html>canary "+plaintext), kms.ErrBadAnswer},
		"XML 400":                {cloudtest.Answering(400, "<Error><Code>canary</Code></Error>"), kms.ErrBadAnswer},
		"empty 503":              {cloudtest.Answering(503, ""), kms.ErrTransient},
		"cut JSON":               {cloudtest.Answering(200, `{"KeyId":"k",`+leak[:40]), kms.ErrBadAnswer},
		"cut JSON in an error":   {cloudtest.Answering(400, `{"Code":"InvalidParameter","Message":"canary`), kms.ErrBadAnswer},
		"code is a number":       {cloudtest.Answering(404, `{"Code":404,"Message":"canary"}`), kms.ErrBadAnswer},
		"code is an object":      {cloudtest.Answering(500, `{"Code":{"canary":1},"Message":["canary"],"RequestId":true}`), kms.ErrTransient},
		"message is a number":    {cloudtest.Answering(403, `{"Code":"Forbidden.NoPermission","Message":7,"HostId":{},"Recommend":[]}`), kms.ErrDenied},
		"detail is a string":     {cloudtest.Answering(403, `{"Code":"Forbidden.NoPermission","AccessDeniedDetail":"canary"}`), kms.ErrDenied},
		"code twice":             {cloudtest.Answering(500, `{"Code":"a","Code":"canary"}`), kms.ErrTransient},
		"odd types":              {cloudtest.Answering(200, `{"KeyId":{"a":"canary"},"RequestId":1.5,`+leak+`}`), kms.ErrBadAnswer},
		"request id is a canary": {cloudtest.Answering(200, `{"KeyId":"k","KeyVersionId":"v","RequestId":"canary canary",`+leak+`}`), kms.ErrBadAnswer},
		"body cut short":         {hijacked("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{" + leak), kms.ErrTransient},
		"refusal cut short":      {hijacked("HTTP/1.1 403 Forbidden\r\nContent-Length: 500\r\n\r\n{\"Code\":\"canary"), kms.ErrTransient},
		"chunk cut short":        {hijacked("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n500\r\n{" + leak), kms.ErrTransient},
		"closed":                 {hijacked(""), kms.ErrTransient},
		"headers cut":            {hijacked("HTTP/1.1 200 OK\r\nX-Canary: canary"), kms.ErrTransient},
		"headers without end":    {hijacked("HTTP/1.1 200 OK\r\nX-Canary: " + strings.Repeat("canary", 20000)), kms.ErrBadAnswer},
		"not HTTP":               {hijacked("canary\r\ncanary\r\n\r\n"), kms.ErrBadAnswer},
		"bad length":             {hijacked("HTTP/1.1 200 OK\r\nContent-Length: canary\r\n\r\n"), kms.ErrBadAnswer},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://canary/?"+r.URL.RawQuery, http.StatusTemporaryRedirect)
		}, kms.ErrBadAnswer},
		"gzip": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write([]byte("canary"))
		}, kms.ErrBadAnswer},
		"status 101": {hijacked("HTTP/1.1 101 Switching Protocols\r\nUpgrade: canary\r\nConnection: upgrade\r\n\r\n"), kms.ErrBadAnswer},
		"status 204": {hijacked("HTTP/1.1 204 canary\r\nConnection: close\r\n\r\n"), kms.ErrBadAnswer},
		"status 999": {hijacked("HTTP/1.1 999 canary\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), kms.ErrTransient},
	} {
		c, _ := service(t, tt.handler)
		for action, call := range everyCall(c) {
			err := call(context.Background())
			cloudtest.Clean(t, name+", "+action, err)
			cloudtest.WantClass(t, name+", "+action, err, tt.class)
		}
	}
}

// A hostile endpoint may give what it was sent the form of a code or an id.
func TestHostileEcho(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		class  error
	}{
		"code is the token":     {400, `{"Code":"` + token + `","RequestId":"` + secretKey + `"}`, kms.ErrBadAnswer},
		"code is part of it":    {400, `{"Code":"` + token[3:15] + `","RequestId":"x` + accessKey + `"}`, kms.ErrBadAnswer},
		"code holds the blob":   {500, `{"Code":"A.` + canaryBlob + `","RequestId":"` + canaryBlob[:20] + `"}`, kms.ErrTransient},
		"request id is the key": {200, `{"KeyId":true,"RequestId":"` + accessKey + `"}`, kms.ErrBadAnswer},
		"and a string":          {200, `{"KeyId":"","Plaintext":"","RequestId":"` + accessKey + `"}`, kms.ErrBadAnswer},
	} {
		c, _ := service(t, cloudtest.Answering(tt.status, tt.body))
		_, err := c.Decrypt(context.Background(), kms.Blob{Text: canaryBlob}, nil)
		cloudtest.WantClass(t, name, err, tt.class)
		cloudtest.Clean(t, name, err)
	}
	c, _ := service(t, cloudtest.Answering(400, `{"Code":"InvalidParameter","RequestId":"r"}`))
	_, err := c.Encrypt(context.Background(), keyID, []byte("an InvalidParameter"), nil)
	if err == nil || !strings.Contains(err.Error(), "InvalidParameter") {
		t.Errorf("a known code that the plaintext happens to hold: %v", err)
	}
}

// The same for errors below HTTP, with the words that tell them apart.
func TestNetworkErrors(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	_, trusted := service(t, cloudtest.Answering(200, "{}"))
	ca := caFile(t, trusted)
	_, port, _ := net.SplitHostPort(trusted.Listener.Addr().String())

	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.Config.ErrorLog = trusted.Config.ErrorLog
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.StartTLS()
	defer old.Close()

	for name, tt := range map[string]struct{ endpoint, ca, want string }{
		"refused":         {refused.Addr().String(), ca, "connection refused"},
		"plain HTTP":      {plain.Listener.Addr().String(), ca, "the server does not speak TLS"},
		"not trusted":     {trusted.Listener.Addr().String(), "", "TLS certificate not trusted"},
		"another name":    {"localhost:" + port, ca, "TLS certificate is for another host"},
		"TLS 1.1":         {old.Listener.Addr().String(), ca, "TLS handshake failed"},
		"no such host":    {"kms.invalid", ca, "kms.invalid"},
		"no such address": {"[::ffff:0:1]:1", ca, ""},
	} {
		c := clientFor(t, tt.endpoint, tt.ca)
		for action, call := range everyCall(c) {
			err := call(context.Background())
			cloudtest.Clean(t, name+", "+action, err)
			cloudtest.WantClass(t, name+", "+action, err, kms.ErrTransient)
			if err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s, %s: %v, want %q", name, action, err, tt.want)
			}
		}
	}
}

type panicking struct{}

func (panicking) RoundTrip(*http.Request) (*http.Response, error) { panic("canary " + plaintext) }

// A panic below or in the SDK is an error of class ErrBadAnswer without the
// panic's value.
func TestPanic(t *testing.T) {
	c := clientFor(t, "127.0.0.1:1", "")
	for name, op := range map[string]operation{
		"transport": {action: "Decrypt", send: func(s *sdkkms.Client) error { _, err := s.Decrypt(sdkkms.CreateDecryptRequest()); return err }},
		"SDK":       {action: "Decrypt", send: func(*sdkkms.Client) error { panic(fmt.Errorf("canary %s", plaintext)) }},
	} {
		_, err := c.try(context.Background(), op, destination{"r", "127.0.0.1:1"}, someKey, panicking{})
		cloudtest.WantClass(t, name, err, kms.ErrBadAnswer)
		cloudtest.Clean(t, name, err)
	}
}

// An error of the SDK's own making is dropped, text and all.
func TestSDKError(t *testing.T) {
	c := clientFor(t, "127.0.0.1:1", "")
	_, err := c.try(context.Background(), operation{action: "Decrypt", send: func(*sdkkms.Client) error {
		return &url.Error{Op: "Post", URL: "https://canary/?Plaintext=" + plaintext, Err: io.ErrUnexpectedEOF}
	}}, destination{"r", "127.0.0.1:1"}, someKey, panicking{})
	cloudtest.WantClass(t, "SDK error", err, kms.ErrBadAnswer)
	cloudtest.Clean(t, "SDK error", err)
}

// A request that is not what it must be never leaves.
func TestGuard(t *testing.T) {
	x := &exchange{ctx: context.Background(), op: operation{action: "Decrypt"}, endpoint: "kms.example", transport: panicking{}}
	for name, spoil := range map[string]func(*http.Request){
		"plain HTTP":      func(r *http.Request) { r.URL.Scheme = "http" },
		"another host":    func(r *http.Request) { r.URL.Host = "evil.example" },
		"another Host":    func(r *http.Request) { r.Host = "evil.example" },
		"userinfo":        func(r *http.Request) { r.URL.User = url.User("canary") },
		"GET":             func(r *http.Request) { r.Method = "GET" },
		"HTTP/2":          func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 2, 0 },
		"blob in URL":     func(r *http.Request) { r.URL.RawQuery += "&CiphertextBlob=canary" },
		"plaintext":       func(r *http.Request) { r.URL.RawQuery += "&Plaintext=" },
		"escaped in URL":  func(r *http.Request) { r.URL.RawQuery += "&%50laintext=canary" },
		"query not valid": func(r *http.Request) { r.URL.RawQuery += "&a;Plaintext=canary" },
	} {
		r, err := http.NewRequest("POST", "https://kms.example/?Action=Decrypt", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.guard(r); err != nil {
			t.Fatalf("the honest request: %v", err)
		}
		spoil(r)
		_, err = x.RoundTrip(r) // would panic if it were sent
		cloudtest.WantClass(t, name, err, kms.ErrInvalid)
		cloudtest.Clean(t, name, err)
	}
}
