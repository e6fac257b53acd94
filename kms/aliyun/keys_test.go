package aliyun

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/kmsfs/kmsfs/kms"
)

// What cannot be asked for is not sent.
func TestKeyCallsNotSent(t *testing.T) {
	c, _ := service(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	ctx := context.Background()
	for name, call := range map[string]func() error{
		"page":      func() error { _, err := c.ListKeys(ctx, -1, 1); return err },
		"size":      func() error { _, err := c.ListAliases(ctx, 1, 51); return err },
		"no size":   func() error { _, err := c.ListAliases(ctx, 1, -1); return err },
		"no key":    func() error { _, err := c.ListAliasesByKeyID(ctx, "", 1, 1); return err },
		"describe":  func() error { _, err := c.DescribeKey(ctx, ""); return err },
		"enable":    func() error { _, err := c.EnableKey(ctx, ""); return err },
		"disable":   func() error { _, err := c.DisableKey(ctx, ""); return err },
		"not UTF-8": func() error { _, err := c.DescribeKey(ctx, "\xff"); return err },
	} {
		wantClass(t, name, call(), kms.ErrInvalid)
	}
}

// Unknown codes of 404 and 409 are about a key, where one was named.
func TestKeyCallsClassified(t *testing.T) {
	for action, want := range map[string]error{
		"ListKeys": kms.ErrInvalid, "ListAliases": kms.ErrInvalid, "CreateKey": kms.ErrInvalid,
		"ListAliasesByKeyId": kms.ErrKeyState, "DescribeKey": kms.ErrKeyState, "EnableKey": kms.ErrKeyState, "DisableKey": kms.ErrKeyState,
	} {
		for _, status := range []int{404, 409} {
			if got := classify(action, status, "Some.New.Code"); !errors.Is(got.class, want) {
				t.Errorf("%s, %d: %v, want %v", action, status, got.class, want)
			}
		}
		for code, want := range map[string]error{
			"Rejected.PendingDeletion": kms.ErrKeyState, "Forbidden.KeyNotFound": kms.ErrKeyState, "Rejected.StateModifiedFailed": kms.ErrKeyState,
			"Forbidden.NoPermission": kms.ErrDenied, "InvalidParameter": kms.ErrInvalid, "Rejected.Throttling": kms.ErrTransient,
		} {
			if got := classify(action, 400, code); !errors.Is(got.class, want) {
				t.Errorf("%s, %s: %v, want %v", action, code, got.class, want)
			}
		}
	}
	// An answer about a key that names none is no answer.
	c, _ := service(t, answering(200, `{"RequestId":"r","KeyMetadata":{}}`))
	_, err := c.DescribeKey(context.Background(), keyID)
	wantClass(t, "no key", err, kms.ErrBadAnswer)
}
