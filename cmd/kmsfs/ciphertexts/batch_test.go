package ciphertexts

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/gate"
)

// encrypter is an Encrypter whose answers a test decides.
type encrypter func(ctx context.Context, plaintext string) error

func (s encrypter) Encrypt(ctx context.Context, _ string, plaintext []byte, _ kms.EncryptionContext) (*kms.Encrypted, error) {
	if err := s(ctx, string(plaintext)); err != nil {
		return nil, err
	}
	return &kms.Encrypted{Blob: base64.StdEncoding.EncodeToString([]byte("12345678-1234-1234-1234-123456789012" + strings.Repeat("x", 28+len(plaintext))))}, nil
}

var throttled = &kms.Error{Class: kms.ErrTransient, Action: "Encrypt", Code: "Throttling.User", Status: 400}

// encryptAll runs encrypt over n files whose content is their number.
func encryptAll(t *testing.T, ctx context.Context, n int, by encrypter, adjust ...func(*Encryption)) (code int, dir, stderr string) {
	t.Helper()
	var said bytes.Buffer
	s, err := options.Defaults()
	if err != nil {
		t.Fatal(err)
	}
	e := &Encryption{Streams: Streams{Out: &bytes.Buffer{}, Err: &said}, Settings: s, Key: "alias/x"}
	for _, f := range adjust {
		f(e)
	}
	dir = t.TempDir()
	var args []string
	for i := range n {
		args = append(args, filepath.Join(dir, fmt.Sprintf("%03d", i)))
		if err := os.WriteFile(args[i], fmt.Append(nil, i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err = e.batch(by, gate.New(nil, gate.Config{QPS: e.QPS, Load: e.Timeout}), e.tasks(args), n > 1).run(ctx)
	if err != nil {
		code = ui.Report(e.Err, err, ui.VerbCodes)
	}
	return code, dir, said.String()
}

func sealedFiles(t *testing.T, dir string) int {
	t.Helper()
	if odd, _ := filepath.Glob(dir + "/.*"); len(odd) > 0 {
		t.Errorf("left behind: %q", odd)
	}
	found, err := filepath.Glob(dir + "/*.cipher")
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// An account that others use up fails no file of many, as long as one of them
// is encrypted now and then; a single file has its timeout.
func TestThrottlingIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		next := time.Now().Add(40 * time.Second)
		rare := encrypter(func(context.Context, string) error {
			mu.Lock()
			defer mu.Unlock()
			if time.Now().Before(next) {
				return throttled
			}
			next = time.Now().Add(time.Minute)
			return nil
		})
		code, dir, said := encryptAll(t, t.Context(), 12, rare)
		if code != 0 || said != "12 encrypted\n" || sealedFiles(t, dir) != 12 {
			t.Errorf("%d files, exit code %d\n%s", sealedFiles(t, dir), code, said)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		never := encrypter(func(context.Context, string) error { return throttled })
		code, dir, said := encryptAll(t, t.Context(), 100, never)
		if took := time.Since(begun); code != 1 || sealedFiles(t, dir) != 0 || !strings.HasSuffix(said, "0 encrypted, 100 left: run again with --missing\n") || took > standstill+30*time.Second {
			t.Errorf("after %v: exit code %d\n%s", took, code, said)
		}
		if n := strings.Count(said, "hint: "); n != 1 || strings.Count(said, "Throttling.User") != encryptAtOnce {
			t.Errorf("%d hints:\n%s", n, said)
		}
		begun = time.Now()
		if code, _, said := encryptAll(t, t.Context(), 1, never); code != 1 || time.Since(begun) > 11*time.Second || !strings.Contains(said, "out of time") {
			t.Errorf("a single file, after %v: exit code %d\n%s", time.Since(begun), code, said)
		}
	})
}

// With a rate far below what the timeout bears, files wait their turn.
func TestSlowRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fine := encrypter(func(context.Context, string) error { return nil })
		code, dir, said := encryptAll(t, t.Context(), 30, fine, func(e *Encryption) { e.QPS, e.Timeout = 1, time.Second })
		if code != 0 || said != "30 encrypted\n" || sealedFiles(t, dir) != 30 {
			t.Errorf("exit code %d\n%s", code, said)
		}
	})
}

// A service that cannot be reached, or that refuses the key, ends the run
// early; a file's own fault ends nothing.
func TestHopelessRunEnds(t *testing.T) {
	for name, fault := range map[string]error{
		"unreachable":   &kms.Error{Class: kms.ErrTransient, Action: "Encrypt", Detail: "connection refused", Unreached: true},
		"no answer":     &kms.Error{Class: kms.ErrTransient, Action: "Encrypt", Detail: "timed out"},
		"key":           &kms.Error{Class: kms.ErrKeyState, Action: "Encrypt", Status: 404},
		"credentials":   &kms.Error{Class: kms.ErrAuthentication, Action: "Encrypt", Status: 403},
		"no permission": &kms.Error{Class: kms.ErrDenied, Action: "Encrypt", Status: 403},
	} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			code, _, said := encryptAll(t, t.Context(), 200, func(context.Context, string) error { return fault })
			if n := strings.Count(said, "kmsfs: encrypt "); code != 1 || n < 1 || n > encryptAtOnce || strings.Count(said, "hint: ") != 1 || time.Since(begun) > 10*time.Second {
				t.Errorf("%s: exit code %d, %d errors after %v\n%s", name, code, n, time.Since(begun), said)
			}
			if !strings.HasSuffix(said, "\n0 encrypted, 200 left: run again with --missing\n") {
				t.Errorf("%s: said\n%s", name, said)
			}
		})
	}
	// One that takes every call and answers none: the timeout is shorter than
	// an attempt, so that the breaker learns nothing.
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		code, _, said := encryptAll(t, t.Context(), 200, func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return &kms.Error{Class: kms.ErrTransient, Action: "Encrypt", Cause: ctx.Err()}
		}, func(e *Encryption) { e.Timeout = 2 * time.Second })
		if code != 1 || time.Since(begun) > 5*time.Second || !strings.HasSuffix(said, "\n0 encrypted, 200 left: run again with --missing\n") {
			t.Errorf("exit code %d after %v\n%s", code, time.Since(begun), said)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		odd := encrypter(func(_ context.Context, plaintext string) error {
			time.Sleep(time.Duration(len(plaintext)) * 50 * time.Millisecond) // shorter ones are first
			if strings.HasPrefix(plaintext, "1") {
				return &kms.Error{Class: kms.ErrInvalid, Action: "Encrypt", Detail: "of " + plaintext, Status: 400}
			}
			return nil
		})
		code, dir, said := encryptAll(t, t.Context(), 20, odd)
		if code != 1 || sealedFiles(t, dir) != 9 || !strings.HasSuffix(said, "\n9 encrypted, 11 left: run again with --missing\n") {
			t.Errorf("exit code %d\n%s", code, said)
		}
		at := 0
		for _, i := range []int{1, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19} { // in the order of the arguments
			next := strings.Index(said, fmt.Sprintf("of %d\n", i))
			if next < at {
				t.Errorf("the error of %d is at %d, after %d\n%s", i, next, at, said)
			}
			at = next
		}
	})
}

// What is called off is no error of a file, and what has begun to be written is
// finished.
func TestCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		slow := encrypter(func(ctx context.Context, _ string) error {
			select {
			case <-time.After(time.Second):
				return nil
			case <-ctx.Done():
				return &kms.Error{Class: kms.ErrTransient, Action: "Encrypt", Detail: "canceled", Cause: ctx.Err()}
			}
		})
		time.AfterFunc(2500*time.Millisecond, stop)
		code, dir, said := encryptAll(t, ctx, 50, slow)
		if code != 1 || sealedFiles(t, dir) != 16 || said != "16 encrypted, 34 left: run again with --missing\n" {
			t.Errorf("%d files, exit code %d\n%s", sealedFiles(t, dir), code, said)
		}
		ctx, stop = context.WithTimeout(t.Context(), time.Millisecond)
		defer stop()
		if code, _, said := encryptAll(t, ctx, 1, slow); code != 1 || !strings.Contains(said, ": interrupted\n") {
			t.Errorf("a single file: exit code %d\n%s", code, said)
		}
	})
}

// A ciphertext is not encrypted once more; a secret that only looks like
// something is.
func TestCheckSecret(t *testing.T) {
	blob, err := encrypter(func(context.Context, string) error { return nil }).Encrypt(t.Context(), "", []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	random := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xa7, 0x01, 0x9c}, 32))
	for _, c := range []struct {
		secret string
		force  bool
		want   string
	}{
		{"secret", false, ""},
		{blob.Blob, false, errSealed.Error()},
		{"\n" + blob.Blob + "\n", false, errSealed.Error()},
		{blob.Blob, true, ""},
		{random, false, ""}, // a key in base64
		{"", false, "empty"},
		{"\xff", false, "not UTF-8"},
		{strings.Repeat("x", kms.MaxPlaintext+1), false, "longer than 6144"},
	} {
		e := &Encryption{Settings: &options.Settings{}, Force: c.force}
		err := e.check([]byte(c.secret), kms.MaxPlaintext)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%.20q: %v, want %q", c.secret, err, c.want)
		}
	}
}

// Nothing but the rate: only that is waited for.
func TestWaiting(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{throttled, true},
		{&kms.Error{Class: kms.ErrTransient, Status: 429}, true},
		{&kms.Error{Class: kms.ErrTransient, Status: 503}, false},
		{&kms.Error{Class: kms.ErrTransient, Unreached: true}, false},
		{&kms.Error{Class: kms.ErrDenied, Status: 429}, false},
		{errors.New("other"), false},
		{nil, false},
	} {
		if got := (&watched{attempts: 1, last: c.err}).waiting(); got != c.want {
			t.Errorf("%v: %t", c.err, got)
		}
	}
	if !(&watched{}).waiting() {
		t.Error("without an attempt")
	}
}
