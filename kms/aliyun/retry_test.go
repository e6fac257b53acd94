package aliyun

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// fickle is a server that answers the first request of every connection and
// closes the connection when the second arrives, as servers do whose idle
// timeout runs out at that moment.
type fickle struct {
	t      testing.TB
	answer string
	stay   int // requests that a connection gets answered; 0: one

	mu     sync.Mutex
	seen   map[string]int // requests by connection
	nonces []string
}

func (f *fickle) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	if f.seen == nil {
		f.seen = map[string]int{}
	}
	f.seen[r.RemoteAddr]++
	n := f.seen[r.RemoteAddr]
	f.nonces = append(f.nonces, r.URL.Query().Get("SignatureNonce"))
	f.mu.Unlock()
	if !signed(r) {
		f.t.Error("the signature is wrong")
	}
	if n > f.stay {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			f.t.Error(err)
			return
		}
		conn.Close()
		return
	}
	cloudtest.Answering(200, f.answer)(w, r)
}

// A kept-alive connection that is closed under a Decrypt or Encrypt costs the
// caller nothing: the request is signed anew and sent once more.
func TestRetryOnClosedConnection(t *testing.T) {
	blob := blobOf(t, 1)
	ctx := context.Background()
	for action, tt := range map[string]struct {
		answer string
		call   func(*Client) error
	}{
		"Decrypt": {cloudtest.DecryptAnswer("x"), func(c *Client) error { _, err := c.Decrypt(ctx, blob, nil); return err }},
		"Encrypt": {encryptAnswer(blob.Text), func(c *Client) error { _, err := c.Encrypt(ctx, keyID, []byte("x"), nil); return err }},
	} {
		f := &fickle{t: t, answer: tt.answer, stay: 1}
		c, _ := service(t, f.serve)
		for range 6 {
			if err := tt.call(c); err != nil {
				t.Errorf("%s: %v", action, err)
			}
		}
		used := map[string]bool{}
		for _, n := range f.nonces {
			if n == "" || used[n] {
				t.Errorf("%s: nonce %q used twice", action, n)
			}
			used[n] = true
		}
		if len(f.nonces) <= 6 {
			t.Errorf("%s: no request was repeated", action)
		}
	}
}

// A new connection that is closed is an error at once: the server is not
// merely tidying up.
func TestNoRetryOnNewConnection(t *testing.T) {
	f := &fickle{t: t}
	c, _ := service(t, f.serve)
	_, err := c.Decrypt(context.Background(), blobOf(t, 1), nil)
	cloudtest.WantClass(t, "closed", err, kms.ErrTransient)
	if len(f.nonces) != 1 {
		t.Errorf("%d requests, want 1", len(f.nonces))
	}
}

// What creates something is not repeated: the first try may have done it.
func TestCreateIsNotRepeated(t *testing.T) {
	f := &fickle{t: t, stay: 1, answer: `{"RequestId":"r","KeyMetadata":{"KeyId":"k"}}`}
	c, _ := service(t, f.serve)
	ctx := context.Background()
	if _, err := c.CreateKey(ctx, ""); err != nil {
		t.Fatal(err)
	}
	_, err := c.CreateKey(ctx, "")
	cloudtest.WantClass(t, "CreateKey", err, kms.ErrTransient)
	if len(f.nonces) != 2 {
		t.Errorf("%d requests, want 2", len(f.nonces))
	}
}

// Calls one after the other share one connection, and a new connection resumes
// the TLS session of an old one.
func TestConnectionsAreReused(t *testing.T) {
	var mu sync.Mutex
	conns, resumed := map[string]bool{}, 0
	c, _ := service(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		conns[r.RemoteAddr] = true
		if r.TLS.DidResume {
			resumed++
		}
		mu.Unlock()
		cloudtest.Answering(200, cloudtest.DecryptAnswer("x"))(w, r)
	})
	decrypt := func() {
		if _, err := c.Decrypt(context.Background(), blobOf(t, 1), nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		decrypt()
	}
	if len(conns) != 1 {
		t.Errorf("%d connections for 10 calls", len(conns))
	}
	c.Close()
	decrypt()
	if len(conns) != 2 || resumed != 1 {
		t.Errorf("%d connections, %d resumed; want 2 and 1", len(conns), resumed)
	}
}

// MaxConns is a bound, and calls beyond it wait within their context.
func TestMaxConns(t *testing.T) {
	var mu sync.Mutex
	conns := map[string]bool{}
	c, _ := service(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		conns[r.RemoteAddr] = true
		mu.Unlock()
		cloudtest.Answering(200, cloudtest.DecryptAnswer("x"))(w, r)
	}, func(c *Config) { c.MaxConns = 2 })
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := c.Decrypt(context.Background(), blobOf(t, 1), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(conns) > 2 {
		t.Errorf("%d connections, want at most 2", len(conns))
	}
}

// New touches no network: a listener at the endpoint sees nobody.
func TestNewIsOffline(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	clientFor(t, l.Addr().String(), "")
	l.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond))
	if conn, err := l.Accept(); err == nil {
		conn.Close()
		t.Error("New made a connection")
	}
}
