package credentials_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
	"github.com/kmsfs/kmsfs/kms/aliyun/credentials"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

// These tests are of a source beside the client that it is for.

// blob is in the form of one, which is all that this side looks at.
var blob = kms.Blob{Text: cloudtest.CanaryBlob}

// service starts a TLS server on loopback and returns a client of it that gets its
// keys from a source.
func service(t *testing.T, h http.HandlerFunc, keys *credentials.Source) *aliyun.Client {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := aliyun.New(aliyun.Config{
		Region: "cn-hangzhou", Endpoint: s.Listener.Addr().String(), CAFile: ca, Timeout: 30 * time.Second, Credentials: keys,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// instanceSource is the RAM role of the instance, whichever it has.
func instanceSource(t *testing.T) *credentials.Source {
	t.Helper()
	s, err := credentials.Find(credentials.Options{Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// someCalls are those that are repeated, and those that never are otherwise.
func someCalls(c *aliyun.Client) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Decrypt": func(ctx context.Context) error { _, err := c.Decrypt(ctx, blob, nil); return err },
		"Encrypt": func(ctx context.Context) error {
			_, err := c.Encrypt(ctx, "alias/canarykey", []byte(cloudtest.Plaintext), nil)
			return err
		},
		"CreateKey": func(ctx context.Context) error { _, err := c.CreateKey(ctx, "canarydescription"); return err },
		"CreateAlias": func(ctx context.Context) error {
			_, err := c.CreateAlias(ctx, "alias/canaryalias", "canarykey")
			return err
		},
		"DescribeKey": func(ctx context.Context) error { _, err := c.DescribeKey(ctx, "canarykey"); return err },
	}
}

// When the service rejects a token, whatever our clock says of it, it is
// renewed once and the call is made again, also one that is never repeated
// otherwise: what was rejected was not done.
func TestRejectedCredentials(t *testing.T) {
	for _, code := range []string{"InvalidSecurityToken.Expired", "InvalidSecurityToken.Malformed", "InvalidAccessKeyId.NotFound", "InvalidAccessKeyId.Inactive",
		"MissingSecurityToken", "Forbidden.AccessKeyDisabled", "SignatureDoesNotMatch"} {
		for action := range someCalls(nil) {
			var calls, fetches atomic.Int32
			c := service(t, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				if r.FormValue("AccessKeyId") == credentials.Numbered(1).AccessKeyID {
					cloudtest.Answering(400, cloudtest.JSON(map[string]any{"Code": code, "RequestId": cloudtest.RequestID}))(w, r)
					return
				}
				cloudtest.Answering(403, `{"Code":"Forbidden.NoPermission","RequestId":"r"}`)(w, r)
			}, credentials.SourceOf(func() (credentials.AccessKey, time.Time, error) {
				return credentials.Numbered(int(fetches.Add(1))), time.Now().Add(time.Hour), nil
			}))
			err := someCalls(c)[action](context.Background())
			cloudtest.WantClass(t, code+", "+action, err, kms.ErrDenied) // the second answer
			if calls.Load() != 2 || fetches.Load() != 2 {
				t.Errorf("%s, %s: %d calls, %d fetches", code, action, calls.Load(), fetches.Load())
			}
		}
	}
}

// Where renewal brings the same credentials, or fails, or the new ones are
// rejected too, the first or second rejection is the answer. Refusals that are
// not about the credentials renew nothing.
func TestRejectedForGood(t *testing.T) {
	for name, tt := range map[string]struct {
		code    string
		draw    func(n int32) (credentials.AccessKey, time.Time, error)
		calls   int32
		fetches int32
	}{
		"the same": {"InvalidSecurityToken.Expired", func(int32) (credentials.AccessKey, time.Time, error) {
			return credentials.Numbered(1), time.Time{}, nil
		}, 1, 2},
		"all": {"InvalidSecurityToken.Expired", func(n int32) (credentials.AccessKey, time.Time, error) {
			return credentials.Numbered(int(n)), time.Time{}, nil
		}, 2, 2},
		"clock": {"IllegalTimestamp", func(n int32) (credentials.AccessKey, time.Time, error) {
			return credentials.Numbered(int(n)), time.Time{}, nil
		}, 1, 1},
		"throttled": {"Throttling.User", func(n int32) (credentials.AccessKey, time.Time, error) {
			return credentials.Numbered(int(n)), time.Time{}, nil
		}, 1, 1},
		"denied": {"Forbidden.NoPermission", func(n int32) (credentials.AccessKey, time.Time, error) {
			return credentials.Numbered(int(n)), time.Time{}, nil
		}, 1, 1},
		"dry": {"InvalidSecurityToken.Expired", func(n int32) (credentials.AccessKey, time.Time, error) {
			if n > 1 {
				return credentials.AccessKey{}, time.Time{}, credentials.ErrDry
			}
			return credentials.Numbered(1), time.Time{}, nil
		}, 1, 2},
	} {
		var calls, fetches atomic.Int32
		c := service(t, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			cloudtest.Answering(400, cloudtest.JSON(map[string]any{"Code": tt.code, "RequestId": cloudtest.RequestID}))(w, r)
		}, credentials.SourceOf(func() (credentials.AccessKey, time.Time, error) { return tt.draw(fetches.Add(1)) }))
		_, err := c.Decrypt(context.Background(), blob, nil)
		cloudtest.WantClass(t, name, err, scrub.Classify("Decrypt", 400, tt.code).Class)
		if calls.Load() != tt.calls || fetches.Load() != tt.fetches {
			t.Errorf("%s: %d calls, %d fetches; want %d, %d", name, calls.Load(), fetches.Load(), tt.calls, tt.fetches)
		}
	}
}

// A hundred readers whose token is revoked under them all read on, and one
// renewal serves them.
func TestRevokedUnderLoad(t *testing.T) {
	var fetches, revoked atomic.Int32
	c := service(t, func(w http.ResponseWriter, r *http.Request) {
		if revoked.Load() == 1 && r.FormValue("AccessKeyId") == credentials.Numbered(1).AccessKeyID {
			cloudtest.Answering(400, `{"Code":"InvalidSecurityToken.Expired","RequestId":"r"}`)(w, r)
			return
		}
		cloudtest.Answering(200, cloudtest.DecryptAnswer("x"))(w, r)
	}, credentials.SourceOf(func() (credentials.AccessKey, time.Time, error) {
		return credentials.Numbered(int(fetches.Add(1))), time.Now().Add(time.Hour), nil
	}))
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			for i := range 5 {
				if n == 0 && i == 2 {
					revoked.Store(1)
				}
				if _, err := c.Decrypt(context.Background(), blob, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if fetches.Load() != 2 {
		t.Errorf("%d fetches", fetches.Load())
	}
}

// No credentials is an error of its own for every call, free of secrets, and
// nothing is sent.
func TestNoCredentialsNoCall(t *testing.T) {
	c := service(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") }, credentials.SourceOf(func() (credentials.AccessKey, time.Time, error) {
		return credentials.AccessKey{}, time.Time{}, credentials.ErrDry
	}))
	for action, call := range someCalls(c) {
		err := call(context.Background())
		cloudtest.Clean(t, action, err)
		cloudtest.WantClass(t, action, err, kms.ErrTransient)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.Decrypt(ctx, blob, nil)
	cloudtest.WantClass(t, "canceled", err, kms.ErrTransient)
}

// A region that nobody names is the instance's. It is asked for at the first
// call, once for all callers and for the whole life, and again only where that
// failed.
func TestInstanceRegion(t *testing.T) {
	if !cloudtest.Alone(t) {
		return
	}
	m := &cloudtest.Mint{Life: time.Hour}
	i := &cloudtest.Instance{Mint: m, T: t, Role: "web"}
	cloudtest.Listen(t, cloudtest.MetadataHost+":80", i.Serve)
	var mu sync.Mutex
	hosts := map[string]int{}
	cloudtest.Listen(t, "127.0.0.1:443", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hosts[r.Host]++
		mu.Unlock()
		if r.URL.Query().Get("RegionId") != "cn-test" {
			t.Errorf("RegionId %q", r.URL.Query().Get("RegionId"))
		}
		m.KMS(w, r)
	})
	source := instanceSource(t)
	c, err := aliyun.New(aliyun.Config{Credentials: source, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n := i.Requests(); n != 0 {
		t.Fatalf("New has asked %d times", n)
	}
	_, err = c.Decrypt(context.Background(), blob, nil)
	cloudtest.Clean(t, "no region", err)
	cloudtest.WantClass(t, "no region", err, kms.ErrConfiguration)
	if e, ok := errors.AsType[*kms.Error](err); !ok || e.Hint != scrub.HintRegion || !strings.Contains(e.Detail, "no region is set") {
		t.Errorf("no region: %v, hint %q", err, e.Hint)
	}
	i.SetRegion("cn-test")
	source.PassPause()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := c.Decrypt(context.Background(), blob, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := i.Asked("GET /latest/meta-data/region-id"); n != 2 {
		t.Errorf("asked %d times", n)
	}
	if len(hosts) != 1 || hosts["kms.cn-test.aliyuncs.com"] != 50 {
		t.Errorf("calls to %v", hosts)
	}
	// A region that would lead elsewhere is none.
	i.SetRegion("evil.example/canary")
	s := instanceSource(t)
	_, err = s.InstanceRegion(context.Background())
	cloudtest.Clean(t, "hostile", err)
	if _, again := s.InstanceRegion(context.Background()); !errors.Is(again, err) {
		t.Errorf("asked again at once: %v", again)
	}
}

// Tokens of two seconds rotate under sixteen readers for eight seconds, and not
// one read fails. The service is strict about their expiry.
func TestRotationUnderLoad(t *testing.T) {
	if !cloudtest.AloneNow(t) { // and not with other tests beside it
		return
	}
	m := &cloudtest.Mint{Life: 2 * time.Second}
	i := &cloudtest.Instance{Mint: m, T: t, Role: "web"}
	cloudtest.Listen(t, cloudtest.MetadataHost+":80", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond)
		i.Serve(w, r)
	})
	var calls, rejected sync.Map
	c := service(t, func(w http.ResponseWriter, r *http.Request) {
		status, _ := m.Judge(r)
		id := r.Form.Get("AccessKeyId")
		calls.Store(id, true)
		if status != 200 {
			rejected.Store(r.Form.Get("SignatureNonce"), true)
		}
		m.KMS(w, r)
	}, instanceSource(t))
	var wg sync.WaitGroup
	end := time.Now().Add(8 * time.Second)
	for n := range 16 {
		wg.Go(func() {
			reads := 0
			for time.Now().Before(end) {
				if _, err := c.Decrypt(context.Background(), blob, nil); err != nil {
					t.Errorf("reader %d, read %d: %v", n, reads, err)
					return
				}
				reads++
			}
		})
	}
	wg.Wait()
	size := func(m *sync.Map) (n int) { m.Range(func(any, any) bool { n++; return true }); return n }
	t.Logf("%d tokens issued, %d used, %d requests rejected and made again", m.Count(), size(&calls), size(&rejected))
	if size(&calls) < 3 {
		t.Errorf("%d tokens were used: they did not rotate", size(&calls))
	}
	if m.Count() > 40 {
		t.Errorf("%d tokens were asked for", m.Count())
	}
}
