package aliyun

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
	"github.com/kmsfs/kmsfs/kms/aliyun/credentials"
)

// Why there is no key is an error of the call, in the same words and of the same
// class; but the caller's end comes before.
func TestMissing(t *testing.T) {
	none := &credentials.Error{Class: kms.ErrConfiguration, Detail: "why", Hint: "what to do"}
	err := missing(context.Background(), "Decrypt", none)
	cloudtest.WantClass(t, "an error of ours", err, kms.ErrConfiguration)
	if e, ok := errors.AsType[*kms.Error](err); !ok || e.Detail != none.Detail || e.Hint != none.Hint {
		t.Errorf("%+v", err)
	}
	err = missing(context.Background(), "Decrypt", errors.New("canary"))
	cloudtest.WantClass(t, "another's", err, kms.ErrTransient)
	cloudtest.Clean(t, "another's", err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	err = missing(ctx, "Decrypt", none)
	cloudtest.WantClass(t, "the caller's deadline", err, kms.ErrTransient)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's deadline: %v", err)
	}
}

// A key that never changes cannot be renewed, and costs no second call.
func TestFixedKeyIsNotRenewed(t *testing.T) {
	var calls atomic.Int32
	c, _ := service(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		cloudtest.Answering(404, `{"Code":"InvalidAccessKeyId.NotFound","RequestId":"r"}`)(w, r)
	})
	_, err := c.Decrypt(context.Background(), blobOf(t, 1), nil)
	cloudtest.WantClass(t, "fixed", err, kms.ErrAuthentication)
	if calls.Load() != 1 {
		t.Errorf("fixed: %d calls", calls.Load())
	}
}
