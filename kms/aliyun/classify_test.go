package aliyun

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// Over the wire: class, code, status and request id arrive in the error, and
// its text is one line of ours.
func TestRefusals(t *testing.T) {
	for _, d := range cloudtest.Documented {
		if d.Code == "" {
			continue
		}
		c, _ := service(t, cloudtest.Echo(d.Status, d.Code))
		_, err := c.Decrypt(context.Background(), blobOf(t, 1), nil)
		cloudtest.WantClass(t, d.Code, err, d.Decrypt)
		cloudtest.Clean(t, d.Code, err)
		var e *kms.Error
		if !errors.As(err, &e) || e.Code != d.Code || e.Status != d.Status || e.RequestID != requestID1 || e.Action != "Decrypt" || e.Cause != nil {
			t.Errorf("%s: %+v", d.Code, e)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%s: more than one line: %q", d.Code, err)
		}
	}
}
