package aliyun

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
	"github.com/kmsfs/kmsfs/kms/aliyun/credentials"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
	"github.com/kmsfs/kmsfs/kms/emulator"
)

// emulated starts an emulator of KMS 3.0 whose instance has an old image.
func emulated(t *testing.T) *emulator.Server {
	t.Helper()
	s, err := emulator.New(emulator.Config{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", State: filepath.Join(t.TempDir(), "state.db"), Generation: 3,
		InstanceListen: "127.0.0.1:0", InstanceImage: "old", AccessKeyID: accessKey, AccessKeySecret: secretKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (c Config) at(t *testing.T, url string, ca []byte) *Client {
	t.Helper()
	c.Region, c.Endpoint, c.CAFile = "cn-hangzhou", strings.TrimPrefix(url, "https://"), writeFile(t, string(ca))
	c.AllowEmulator, c.Credentials = true, credentials.AccessKey{AccessKeyID: accessKey, AccessKeySecret: secretKey}
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func post(t *testing.T, url, body string) {
	t.Helper()
	r, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, r.Status)
	}
}

// Every code that has a hint of its own brings it, whatever makes the service
// say it, and is neither a damaged file nor a matter of permissions.
func TestHintsOfCodes(t *testing.T) {
	s := emulated(t)
	shared, instance := Config{}.at(t, s.URL(), s.CAPEM()), Config{}.at(t, s.InstanceURL(), s.InstanceCAPEM())
	ctx := context.Background()
	sealed, err := func() (*kms.Encrypted, error) {
		made, err := shared.CreateKey(ctx, "")
		if err != nil {
			return nil, err
		}
		_, id, _ := strings.Cut(string(made), `"KeyId":"`)
		id, _, _ = strings.Cut(id, `"`)
		return shared.Encrypt(ctx, id, []byte("secret"), nil)
	}()
	if err != nil {
		t.Fatal(err)
	}
	blob, not := blobs.Of([]byte(sealed.Blob))
	if not != nil {
		t.Fatal(not)
	}
	provoked := map[string]bool{}
	refused := func(code string, by *Client) {
		t.Helper()
		want, known := scrub.LookUp(code)
		if !known || want.Hint == "" {
			t.Fatalf("%s has no hint", code)
		}
		provoked[want.Hint] = true
		_, err := by.Decrypt(ctx, blob, nil)
		e, ok := errors.AsType[*kms.Error](err)
		if !ok || e.Hint != want.Hint || !errors.Is(e, want.Class) || e.Detail == "" {
			t.Errorf("%s: %v, hint %q", code, err, e.Hint)
		}
		cloudtest.Clean(t, code, err)
	}
	post(t, s.AdminURL()+"/internet-access", `{"on":false}`)
	refused("UnsupportedOperation", shared)
	post(t, s.AdminURL()+"/internet-access", `{"on":true}`)
	refused(scrub.MissingOfOldImage, instance)
	for _, d := range cloudtest.Documented {
		if v, _ := scrub.LookUp(d.Code); v.Hint != "" {
			post(t, s.AdminURL()+"/faults", `{"action":"Decrypt","count":1,"code":"`+d.Code+`"}`)
			refused(d.Code, shared)
		}
	}
	for _, hint := range scrub.Hints() {
		if !provoked[hint] {
			t.Errorf("nothing provokes %q", hint)
		}
	}
	if d, err := shared.Decrypt(ctx, blob, nil); err != nil || string(d.Plaintext) != "secret" {
		t.Errorf("afterwards: %v", err)
	}
}

// A certificate of another authority has a hint of its own, and no connection.
func TestHintOfAnotherAuthority(t *testing.T) {
	s := emulated(t)
	_, err := Config{}.at(t, s.InstanceURL(), s.CAPEM()).Decrypt(context.Background(), blobOf(t, 1), nil)
	e, ok := errors.AsType[*kms.Error](err)
	if !ok || e.Hint == "" || e.Hint != scrub.TransportHint(e.Detail, "127.0.0.1") || !e.Unreached {
		t.Errorf("another authority: %v, %+v", err, e)
	}
}

// A call that found no connection says so; one that found no answer does not.
func TestUnreached(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	_, err = clientFor(t, gone, "").Decrypt(context.Background(), blobOf(t, 1), nil)
	if e, ok := errors.AsType[*kms.Error](err); !ok || !e.Unreached || e.Detail != "connection refused" {
		t.Errorf("refused: %v, %+v", err, e)
	}
	silent, s := service(t, func(http.ResponseWriter, *http.Request) {}, func(c *Config) { c.Timeout = 200 * time.Millisecond })
	s.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		r.ParseForm() // only then it is noticed when the client leaves
		<-r.Context().Done()
	})
	_, err = silent.Decrypt(context.Background(), blobOf(t, 1), nil)
	if e, ok := errors.AsType[*kms.Error](err); !ok || e.Unreached || !strings.HasPrefix(e.Detail, "timed out") {
		t.Errorf("silent: %v, %+v", err, e)
	}
	// A peer that accepts, and then does not speak TLS.
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	_, err = clientFor(t, mute.Addr().String(), "", func(c *Config) { c.Timeout = 200 * time.Millisecond }).Decrypt(context.Background(), blobOf(t, 1), nil)
	if e, ok := errors.AsType[*kms.Error](err); !ok || !e.Unreached {
		t.Errorf("mute: %v, %+v", err, e)
	}
}

// A request is sent again within a call only with leave.
func TestRepeatNeedsLeave(t *testing.T) {
	for _, may := range []bool{true, false} {
		asked := 0
		leave := func(c *Config) {
			c.Repeat = func(context.Context) error {
				asked++
				if !may {
					return errors.New("no")
				}
				return nil
			}
		}
		f := &fickle{t: t, answer: cloudtest.DecryptAnswer("x"), stay: 1}
		c, _ := service(t, f.serve, leave)
		failed := 0
		for range 4 {
			if _, err := c.Decrypt(context.Background(), blobOf(t, 1), nil); err != nil {
				failed++
				cloudtest.WantClass(t, "closed", err, kms.ErrTransient)
			}
		}
		if asked == 0 || (failed == 0) != may || len(f.nonces) != map[bool]int{true: 4 + asked, false: 4}[may] {
			t.Errorf("leave %v: asked %d times, %d failed, %d requests", may, asked, failed, len(f.nonces))
		}
	}
}
