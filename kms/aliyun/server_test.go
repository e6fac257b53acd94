package aliyun

import (
	"encoding/base64"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

const (
	keyID      = cloudtest.KeyID
	versionID  = cloudtest.VersionID
	requestID1 = cloudtest.RequestID
	accessKey  = cloudtest.AccessKey
	secretKey  = cloudtest.SecretKey
	token      = cloudtest.Token
	plaintext  = cloudtest.Plaintext
	canaryBlob = cloudtest.CanaryBlob
)

// blobOf is a well-formed blob of a plaintext of n bytes.
func blobOf(t testing.TB, n int) kms.Blob {
	raw := append([]byte(versionID), strings.Repeat("\xA7", 12+n+16)...)
	b, err := blobs.Of([]byte(base64.StdEncoding.EncodeToString(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encryptAnswer(blob string) string {
	return cloudtest.JSON(map[string]any{"KeyId": keyID, "KeyVersionId": versionID, "RequestId": requestID1, "CiphertextBlob": blob})
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
		Credentials: someKey,
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

func signed(r *http.Request) bool { return cloudtest.SignedWith(r, secretKey) }
