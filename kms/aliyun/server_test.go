package aliyun

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

const (
	keyID      = "1234abcd-12ab-34cd-56ef-1234567890ab"
	versionID  = "2ab1a983-7072-4bbc-a582-584b5bd8a1e0"
	requestID1 = "475f1620-b9d3-4d35-b5c6-3fbdd941423d"
	accessKey  = "LTAIcanaryaccesskey"
	secretKey  = "canarysecretcanarysecret"
	token      = "canarytokencanarytoken"
	plaintext  = "canary-plaintext: \"quoted\", \u00e9\u4e2d\U0001F511\r\n\tend\n"
)

// blobOf is a well-formed blob of a plaintext of n bytes.
func blobOf(t testing.TB, n int) kms.Blob {
	raw := append([]byte(versionID), strings.Repeat("\xA7", 12+n+16)...)
	b, err := recognise([]byte(base64.StdEncoding.EncodeToString(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decryptAnswer(plaintext string) string {
	return toJSON(map[string]any{"KeyId": keyID, "KeyVersionId": versionID, "RequestId": requestID1, "Plaintext": plaintext})
}

func encryptAnswer(blob string) string {
	return toJSON(map[string]any{"KeyId": keyID, "KeyVersionId": versionID, "RequestId": requestID1, "CiphertextBlob": blob})
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func answering(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json;charset=utf-8")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// service starts a TLS server on loopback and returns a client for it.
func service(t testing.TB, h http.HandlerFunc, adjust ...func(*Config)) (*Client, *httptest.Server) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return clientFor(t, s.Listener.Addr().String(), caFile(t, s), adjust...), s
}

func clientFor(t testing.TB, endpoint, ca string, adjust ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{
		Region: "cn-hangzhou", Endpoint: endpoint, CAFile: ca, Timeout: 30 * time.Second,
		Credentials: Credentials{accessKey, secretKey, token},
	}
	for _, f := range adjust {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func caFile(t testing.TB, s *httptest.Server) string {
	t.Helper()
	return writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
}

func writeFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// signed verifies the RPC signature over query and form, by the rules of the
// documentation and not by the SDK's code.
func signed(r *http.Request) bool { return signedWith(r, secretKey) }

func signedWith(r *http.Request, secret string) bool {
	if r.ParseForm() != nil {
		return false
	}
	all := url.Values{}
	for k, v := range r.Form {
		if k != "Signature" {
			all[k] = v
		}
	}
	escape := func(s string) string {
		return strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~").Replace(s)
	}
	sts := r.Method + "&%2F&" + escape(url.QueryEscape(escape(all.Encode())))
	mac := hmac.New(sha1.New, []byte(secret+"&"))
	io.WriteString(mac, sts)
	return r.Form.Get("Signature") == base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
