package aliyun

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms"

	sdkkms "github.com/aliyun/alibaba-cloud-sdk-go/services/kms"
)

const canaryBlob = "Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5"

// clean fails if any form of an error shows what none may show.
func clean(t testing.TB, name string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", name)
		return
	}
	text := fmt.Sprintf("%v | %+v | %#v | %s", err, err, err, toJSON(map[string]any{"err": err}))
	for _, bad := range []string{
		"canary", url.QueryEscape(plaintext), base64.StdEncoding.EncodeToString([]byte(plaintext)),
		canaryBlob, canaryBlob[:16], accessKey, secretKey, token,
		"://", "Signature=", "AccessKeyId=", "SecurityToken=", "CiphertextBlob=", "Plaintext=", "<html",
	} {
		if strings.Contains(text, bad) {
			t.Errorf("%s: the error shows %q: %s", name, bad, text)
		}
	}
}

// echo answers with an error whose message holds all that was sent, as the
// real gateway does when signatures differ.
func echo(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		answering(status, toJSON(map[string]any{
			"Code": code, "RequestId": requestID1, "HostId": "https://canaryhost/",
			"Message":            "Specified signature is not matched with our calculation. server string to sign is:POST&%2F&" + r.Form.Encode() + plaintext,
			"Recommend":          "https://api.aliyun.com/troubleshoot?" + r.Form.Encode(),
			"AccessDeniedDetail": map[string]any{"AuthAction": "canary" + r.Form.Encode()},
		}))(w, r)
	}
}

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
		"signature mismatch":     {echo(400, "SignatureDoesNotMatch"), kms.ErrAuthentication},
		"incomplete signature":   {echo(400, "IncompleteSignature"), kms.ErrAuthentication},
		"denied with detail":     {echo(403, "Forbidden.NoPermission"), kms.ErrDenied},
		"throttled":              {echo(429, "Rejected.Throttling"), kms.ErrTransient},
		"internal":               {echo(500, "InternalFailure"), kms.ErrTransient},
		"code is a canary":       {echo(500, "canary canary"), kms.ErrTransient},
		"code is a URL":          {echo(500, "https://canary/"), kms.ErrTransient},
		"HTML 502":               {answering(502, "<html>canary "+plaintext), kms.ErrTransient},
		"HTML 403":               {answering(403, "<html>canary "+plaintext), kms.ErrBadAnswer},
		"HTML 200":               {answering(200, "<html>canary "+plaintext), kms.ErrBadAnswer},
		"XML 400":                {answering(400, "<Error><Code>canary</Code></Error>"), kms.ErrBadAnswer},
		"empty 503":              {answering(503, ""), kms.ErrTransient},
		"cut JSON":               {answering(200, `{"KeyId":"k",`+leak[:40]), kms.ErrBadAnswer},
		"cut JSON in an error":   {answering(400, `{"Code":"InvalidParameter","Message":"canary`), kms.ErrBadAnswer},
		"code is a number":       {answering(404, `{"Code":404,"Message":"canary"}`), kms.ErrBadAnswer},
		"code is an object":      {answering(500, `{"Code":{"canary":1},"Message":["canary"],"RequestId":true}`), kms.ErrTransient},
		"message is a number":    {answering(403, `{"Code":"Forbidden.NoPermission","Message":7,"HostId":{},"Recommend":[]}`), kms.ErrDenied},
		"detail is a string":     {answering(403, `{"Code":"Forbidden.NoPermission","AccessDeniedDetail":"canary"}`), kms.ErrDenied},
		"code twice":             {answering(500, `{"Code":"a","Code":"canary"}`), kms.ErrTransient},
		"odd types":              {answering(200, `{"KeyId":{"a":"canary"},"RequestId":1.5,`+leak+`}`), kms.ErrBadAnswer},
		"request id is a canary": {answering(200, `{"KeyId":"k","KeyVersionId":"v","RequestId":"canary canary",`+leak+`}`), kms.ErrBadAnswer},
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
			clean(t, name+", "+action, err)
			wantClass(t, name+", "+action, err, tt.class)
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
		c, _ := service(t, answering(tt.status, tt.body))
		_, err := c.Decrypt(context.Background(), kms.Blob{Text: canaryBlob}, nil)
		wantClass(t, name, err, tt.class)
		clean(t, name, err)
	}
	c, _ := service(t, answering(400, `{"Code":"InvalidParameter","RequestId":"r"}`))
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
	_, trusted := service(t, answering(200, "{}"))
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
			clean(t, name+", "+action, err)
			wantClass(t, name+", "+action, err, kms.ErrTransient)
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
		_, err := c.try(context.Background(), op, destination{"r", "127.0.0.1:1"}, someCredentials, panicking{})
		wantClass(t, name, err, kms.ErrBadAnswer)
		clean(t, name, err)
	}
}

// An error of the SDK's own making is dropped, text and all.
func TestSDKError(t *testing.T) {
	c := clientFor(t, "127.0.0.1:1", "")
	_, err := c.try(context.Background(), operation{action: "Decrypt", send: func(*sdkkms.Client) error {
		return &url.Error{Op: "Post", URL: "https://canary/?Plaintext=" + plaintext, Err: io.ErrUnexpectedEOF}
	}}, destination{"r", "127.0.0.1:1"}, someCredentials, panicking{})
	wantClass(t, "SDK error", err, kms.ErrBadAnswer)
	clean(t, "SDK error", err)
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
		wantClass(t, name, err, kms.ErrInvalid)
		clean(t, name, err)
	}
}
