package aliyun

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

// When the service rejects a token, whatever our clock says of it, it is
// renewed once and the call is made again, also one that is never repeated
// otherwise: what was rejected was not done.
func TestRejectedCredentials(t *testing.T) {
	for _, code := range []string{"InvalidSecurityToken.Expired", "InvalidSecurityToken.Malformed", "InvalidAccessKeyId.NotFound", "InvalidAccessKeyId.Inactive",
		"MissingSecurityToken", "Forbidden.AccessKeyDisabled", "SignatureDoesNotMatch"} {
		for action := range everyCall(nil) {
			var calls, fetches atomic.Int32
			c, _ := service(t, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				if r.FormValue("AccessKeyId") == numbered(1).AccessKeyID {
					answering(400, toJSON(map[string]any{"Code": code, "RequestId": requestID1}))(w, r)
					return
				}
				answering(403, `{"Code":"Forbidden.NoPermission","RequestId":"r"}`)(w, r)
			}, func(c *Config) {
				c.Credentials = sourceOf(func() (Credentials, time.Time, error) {
					return numbered(int(fetches.Add(1))), time.Now().Add(time.Hour), nil
				})
			})
			err := everyCall(c)[action](context.Background())
			wantClass(t, code+", "+action, err, kms.ErrDenied) // the second answer
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
		draw    func(n int32) (Credentials, time.Time, error)
		calls   int32
		fetches int32
	}{
		"the same":  {"InvalidSecurityToken.Expired", func(int32) (Credentials, time.Time, error) { return numbered(1), time.Time{}, nil }, 1, 2},
		"all":       {"InvalidSecurityToken.Expired", func(n int32) (Credentials, time.Time, error) { return numbered(int(n)), time.Time{}, nil }, 2, 2},
		"clock":     {"IllegalTimestamp", func(n int32) (Credentials, time.Time, error) { return numbered(int(n)), time.Time{}, nil }, 1, 1},
		"throttled": {"Throttling.User", func(n int32) (Credentials, time.Time, error) { return numbered(int(n)), time.Time{}, nil }, 1, 1},
		"denied":    {"Forbidden.NoPermission", func(n int32) (Credentials, time.Time, error) { return numbered(int(n)), time.Time{}, nil }, 1, 1},
		"dry": {"InvalidSecurityToken.Expired", func(n int32) (Credentials, time.Time, error) {
			if n > 1 {
				return Credentials{}, time.Time{}, errDry
			}
			return numbered(1), time.Time{}, nil
		}, 1, 2},
	} {
		var calls, fetches atomic.Int32
		c, _ := service(t, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			answering(400, toJSON(map[string]any{"Code": tt.code, "RequestId": requestID1}))(w, r)
		}, func(c *Config) {
			c.Credentials = sourceOf(func() (Credentials, time.Time, error) { return tt.draw(fetches.Add(1)) })
		})
		_, err := c.Decrypt(context.Background(), blobOf(t, 1), nil)
		wantClass(t, name, err, classify("Decrypt", 400, tt.code).class)
		if calls.Load() != tt.calls || fetches.Load() != tt.fetches {
			t.Errorf("%s: %d calls, %d fetches; want %d, %d", name, calls.Load(), fetches.Load(), tt.calls, tt.fetches)
		}
	}
	// Fixed credentials cannot be renewed, and cost no second call.
	var calls atomic.Int32
	c, _ := service(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		answering(404, `{"Code":"InvalidAccessKeyId.NotFound","RequestId":"r"}`)(w, r)
	})
	_, err := c.Decrypt(context.Background(), blobOf(t, 1), nil)
	wantClass(t, "fixed", err, kms.ErrAuthentication)
	if calls.Load() != 1 {
		t.Errorf("fixed: %d calls", calls.Load())
	}
}

// A hundred readers whose token is revoked under them all read on, and one
// renewal serves them.
func TestRevokedUnderLoad(t *testing.T) {
	var fetches, revoked atomic.Int32
	c, _ := service(t, func(w http.ResponseWriter, r *http.Request) {
		if revoked.Load() == 1 && r.FormValue("AccessKeyId") == numbered(1).AccessKeyID {
			answering(400, `{"Code":"InvalidSecurityToken.Expired","RequestId":"r"}`)(w, r)
			return
		}
		answering(200, decryptAnswer("x"))(w, r)
	}, func(c *Config) {
		c.Credentials = sourceOf(func() (Credentials, time.Time, error) {
			return numbered(int(fetches.Add(1))), time.Now().Add(time.Hour), nil
		})
	})
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			for i := range 5 {
				if n == 0 && i == 2 {
					revoked.Store(1)
				}
				if _, err := c.Decrypt(context.Background(), blobOf(t, 1), nil); err != nil {
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
	c, _ := service(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") }, func(c *Config) {
		c.Credentials = sourceOf(func() (Credentials, time.Time, error) { return Credentials{}, time.Time{}, errDry })
	})
	for action, call := range everyCall(c) {
		err := call(context.Background())
		clean(t, action, err)
		wantClass(t, action, err, kms.ErrTransient)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.Decrypt(ctx, blobOf(t, 1), nil)
	wantClass(t, "canceled", err, kms.ErrTransient)
}

// When the service rejects what was lent, a hundred callers cause one fetch;
// where it brings nothing else, not more than one a second.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int32
		last := 1
		s := sourceOf(func() (Credentials, time.Time, error) {
			fetches.Add(1)
			time.Sleep(time.Second)
			return numbered(last), time.Now().Add(time.Hour), nil
		})
		if _, err := s.lend(context.Background()); err != nil {
			t.Fatal(err)
		}
		last = 2
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if c, err := s.renew(context.Background(), numbered(1)); err != nil || c != numbered(2) {
					t.Errorf("%v, %v", c.AccessKeyID, err)
				}
			})
		}
		wg.Wait()
		if c, err := s.renew(context.Background(), numbered(1)); err != nil || c != numbered(2) || fetches.Load() != 2 {
			t.Errorf("too late: %v, %v, %d fetches", c.AccessKeyID, err, fetches.Load())
		}
		for range 100 {
			if c, err := s.renew(context.Background(), numbered(2)); err != nil || c != numbered(2) {
				t.Errorf("nothing new: %v, %v", c.AccessKeyID, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := fetches.Load(); n > 4 {
			t.Errorf("%d fetches", n)
		}
	})
}
