package emulator_test

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator"
	"go.uber.org/goleak"
)

const (
	accessKey = "LTAItest"
	secret    = "the-secret-of-LTAItest"
)

func TestMain(m *testing.M) {
	// The SDK would look for a cloud server's metadata.
	os.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	goleak.VerifyTestMain(m)
}

// bench is a running emulator and a client of it.
type bench struct {
	t      *testing.T
	server *emulator.Server
	http   *http.Client
	url    string // the endpoint that is called
	dir    string
	stop   func() // waits for the end; may be called twice
}

// start runs an emulator on the state file in dir until the test ends.
func start(t *testing.T, dir string, changes ...func(*emulator.Config)) *bench {
	t.Helper()
	config := emulator.Config{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0",
		State: filepath.Join(dir, "state.db"), CAOut: filepath.Join(dir, "ca.pem"),
		AccessKeyID: accessKey, AccessKeySecret: secret,
	}
	for _, change := range changes {
		change(&config)
	}
	s, err := emulator.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.CAPEM()) {
		t.Fatal("no certificate in CAPEM")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 16}
	b := &bench{t: t, server: s, dir: dir, url: s.URL(), http: &http.Client{Transport: transport, Timeout: 20 * time.Second}}
	stopped := false
	b.stop = func() {
		if stopped {
			return
		}
		stopped = true
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	}
	t.Cleanup(b.stop)
	return b
}

// sign is a client's own reading of the signature rules, on purpose apart from
// the server's code.
func sign(method string, v url.Values, secret string) {
	v.Del("Signature")
	rfc3986 := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	canonical := strings.ReplaceAll(v.Encode(), "+", "%20") // Encode sorts
	mac := hmac.New(sha1.New, []byte(secret+"&"))
	io.WriteString(mac, method+"&%2F&"+rfc3986(canonical))
	v.Set("Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// request returns the signed parameters of a call, given name, value, ….
func request(method, action string, pairs ...string) url.Values {
	v := url.Values{
		"AccessKeyId": {accessKey}, "Action": {action}, "Format": {"JSON"}, "RegionId": {"cn-hangzhou"},
		"SignatureMethod": {"HMAC-SHA1"}, "SignatureNonce": {rand.Text()}, "SignatureType": {""},
		"SignatureVersion": {"1.0"}, "Timestamp": {time.Now().UTC().Format("2006-01-02T15:04:05Z")},
		"Version": {"2016-01-20"},
	}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	sign(method, v, secret)
	return v
}

// result is an answer as a client reads it.
type result struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (r result) code() string { s, _ := r.body["Code"].(string); return s }
func (r result) str(name string) string {
	s, _ := r.body[name].(string)
	return s
}

// send posts parameters in the query, like most clients.
func (b *bench) send(v url.Values) (result, error) {
	req, err := http.NewRequest("POST", b.url+"/?"+v.Encode(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(req)
}

func (b *bench) do(req *http.Request) (result, error) {
	resp, err := b.http.Do(req)
	if err != nil {
		return result{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	r := result{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	json.Unmarshal(raw, &r.body) // a fault may send anything
	return r, err
}

// call performs an action and expects an answer of any kind.
func (b *bench) call(action string, pairs ...string) result {
	b.t.Helper()
	r, err := b.send(request("POST", action, pairs...))
	if err != nil {
		b.t.Fatalf("%s: %v", action, err)
	}
	return r
}

// ok performs an action and expects a success.
func (b *bench) ok(action string, pairs ...string) result {
	b.t.Helper()
	r := b.call(action, pairs...)
	if r.status != 200 || r.str("RequestId") == "" {
		b.t.Fatalf("%s %q: %d %s", action, pairs, r.status, r.raw)
	}
	return r
}

// refused performs an action and expects an error.
func (b *bench) refused(status int, code, action string, pairs ...string) {
	b.t.Helper()
	if r := b.call(action, pairs...); r.status != status || r.code() != code {
		b.t.Errorf("%s %.200q: got %d %s, want %d %s", action, pairs, r.status, r.raw, status, code)
	}
}

// newKey makes a key and returns its id.
func (b *bench) newKey() string {
	b.t.Helper()
	return b.metadata(b.ok("CreateKey"))["KeyId"].(string)
}

func (b *bench) metadata(r result) map[string]any {
	b.t.Helper()
	m, ok := r.body["KeyMetadata"].(map[string]any)
	if !ok {
		b.t.Fatalf("no KeyMetadata in %s", r.raw)
	}
	return m
}

// admin performs a request to the admin server.
func (b *bench) admin(method, path, body string) result {
	b.t.Helper()
	req, err := http.NewRequest(method, b.server.AdminURL()+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := b.do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// fault posts a fault and expects it to be taken.
func (b *bench) fault(body string) {
	b.t.Helper()
	if r := b.admin("POST", "/faults", body); r.status != 200 {
		b.t.Fatalf("fault %s: %d %s", body, r.status, r.raw)
	}
}
