package aliyun

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// silent accepts connections and never says a word. It reports each.
func silent(t *testing.T) (addr string, accepted <-chan struct{}) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	ended, seen := make(chan struct{}), make(chan struct{}, 64)
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
			seen <- struct{}{}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
		for _, c := range conns {
			c.Close()
		}
	})
	return l.Addr().String(), seen
}

// hung is a TLS server that takes requests and answers none, or only half, with
// the given status.
func hung(t *testing.T, half int, adjust ...func(*Config)) (c *Client, arrived <-chan struct{}) {
	seen, release := make(chan struct{}, 64), make(chan struct{})
	c, s := service(t, func(w http.ResponseWriter, r *http.Request) {
		if half != 0 {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(half)
			w.Write([]byte(`{"Plaintext":"canary`))
			w.(http.Flusher).Flush()
		}
		seen <- struct{}{}
		<-release
	}, adjust...)
	t.Cleanup(func() { close(release); s.CloseClientConnections() })
	return c, seen
}

// A server that never answers, at any stage, cannot hold a caller whose context
// ends; the error says which way it ended.
func TestContextEnds(t *testing.T) {
	blob := blobOf(t, 1)
	addr, accepted := silent(t)
	mute := clientFor(t, addr, "", func(c *Config) {})
	deaf, arrived := hung(t, 0)
	broken, begun := hung(t, 200)
	refusing, refused := hung(t, 403)
	for name, stage := range map[string]struct {
		c       *Client
		reached <-chan struct{}
	}{
		"handshake": {mute, accepted}, "request": {deaf, arrived}, "half an answer": {broken, begun},
		"half a refusal": {refusing, refused},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-stage.reached; cancel() }()
		_, err := stage.c.Decrypt(ctx, blob, nil)
		cloudtest.WantClass(t, name+": canceled", err, kms.ErrTransient)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v is not context.Canceled", name, err)
		}

		ctx, cancel = context.WithTimeout(context.Background(), 20*time.Millisecond)
		_, err = stage.c.Encrypt(ctx, keyID, []byte("x"), nil)
		cancel()
		cloudtest.WantClass(t, name+": deadline", err, kms.ErrTransient)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v is not context.DeadlineExceeded", name, err)
		}
		// The server may have seen the second connection, or not.
		select {
		case <-stage.reached:
		default:
		}
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := deaf.CreateKey(done, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("context ended before: %v", err)
	}
}

// The client's own timeout is no deadline of the caller's: it may be retried.
func TestOwnTimeout(t *testing.T) {
	short := func(c *Config) { c.Timeout = 20 * time.Millisecond }
	addr, _ := silent(t)
	mute := clientFor(t, addr, "", short)
	deaf, _ := hung(t, 0, short)
	broken, _ := hung(t, 200, short)
	for name, c := range map[string]*Client{"handshake": mute, "request": deaf, "half an answer": broken} {
		_, err := c.Decrypt(context.Background(), blobOf(t, 1), nil)
		cloudtest.WantClass(t, name, err, kms.ErrTransient)
		if errors.Is(err, context.DeadlineExceeded) || err == nil || !strings.Contains(err.Error(), "timed out after 20ms") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever is asked, the first bytes on the wire are a TLS handshake.
func TestNeverPlainHTTP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan [3]byte, 16)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var b [3]byte
			conn.Read(b[:])
			first <- b
			conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
			conn.Close()
		}
	}()
	defer func() { l.Close(); <-ended }()
	c := clientFor(t, l.Addr().String(), "")
	for name, call := range everyCall(c) {
		err := call(context.Background())
		cloudtest.WantClass(t, name, err, kms.ErrTransient)
		if b := <-first; b[0] != 0x16 || b[1] != 3 {
			t.Errorf("%s: sent % x, which is no TLS handshake", name, b)
		}
	}
}

// everyCall is each operation once, with canaries in all its arguments.
func everyCall(c *Client) map[string]func(context.Context) error {
	blob := kms.Blob{Text: canaryBlob}
	ec := kms.EncryptionContext{"canarycontext": "canaryvalue"}
	return map[string]func(context.Context) error{
		"Decrypt": func(ctx context.Context) error { _, err := c.Decrypt(ctx, blob, ec); return err },
		"Encrypt": func(ctx context.Context) error {
			_, err := c.Encrypt(ctx, "alias/canarykey", []byte(plaintext), ec)
			return err
		},
		"CreateKey": func(ctx context.Context) error { _, err := c.CreateKey(ctx, "canarydescription"); return err },
		"CreateAlias": func(ctx context.Context) error {
			_, err := c.CreateAlias(ctx, "alias/canaryalias", "canarykey")
			return err
		},
		"ListKeys":    func(ctx context.Context) error { _, err := c.ListKeys(ctx, 1, 10); return err },
		"ListAliases": func(ctx context.Context) error { _, err := c.ListAliases(ctx, 1, 10); return err },
		"ListAliasesByKeyId": func(ctx context.Context) error {
			_, err := c.ListAliasesByKeyID(ctx, "canarykey", 1, 10)
			return err
		},
		"DescribeKey": func(ctx context.Context) error { _, err := c.DescribeKey(ctx, "canarykey"); return err },
		"EnableKey":   func(ctx context.Context) error { _, err := c.EnableKey(ctx, "canarykey"); return err },
		"DisableKey":  func(ctx context.Context) error { _, err := c.DisableKey(ctx, "canarykey"); return err },
	}
}
