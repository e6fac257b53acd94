package scrub

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

func TestClassify(t *testing.T) {
	rows := map[string]bool{}
	for _, d := range cloudtest.Documented {
		rows[d.Code] = true
		for action, want := range map[string]error{"Decrypt": d.Decrypt, "Encrypt": d.Encrypt, "CreateAlias": d.Alias} {
			if got := Classify(action, d.Status, d.Code); got.Class != want {
				t.Errorf("%s, %d %s: %v, want %v", action, d.Status, d.Code, got.Class, want)
			}
		}
	}
	for code := range codes {
		if !rows[code] && !strings.HasSuffix(code, ".") && code != MissingOfOldImage {
			t.Errorf("%s has no row in the test", code)
		}
	}
	for code, want := range map[string]error{"Never.Seen": kms.ErrConfiguration, "NotFound.Never": kms.ErrConfiguration} {
		if got := Classify("CreateKey", http.StatusNotFound, code); got.Class != want {
			t.Errorf("CreateKey, 404 %s: %v, want %v", code, got.Class, want)
		}
	}
}

// Unknown codes of 404 and 409 are about a key, where one was named and the code
// is of KMS; else about how things are set up.
func TestKeyCallsClassified(t *testing.T) {
	for action, want := range map[string]error{
		"ListKeys": kms.ErrConfiguration, "ListAliases": kms.ErrConfiguration, "CreateKey": kms.ErrConfiguration,
		"ListAliasesByKeyId": kms.ErrKeyState, "DescribeKey": kms.ErrKeyState, "EnableKey": kms.ErrKeyState, "DisableKey": kms.ErrKeyState,
	} {
		for _, status := range []int{404, 409} {
			if got := Classify(action, status, "Rejected.NewState"); !errors.Is(got.Class, want) {
				t.Errorf("%s, %d: %v, want %v", action, status, got.Class, want)
			}
			if got := Classify(action, status, "Some.New.Code"); !errors.Is(got.Class, kms.ErrConfiguration) {
				t.Errorf("%s, %d: %v, want configuration", action, status, got.Class)
			}
		}
		for code, want := range map[string]error{
			"Rejected.PendingDeletion": kms.ErrKeyState, "Forbidden.KeyNotFound": kms.ErrKeyState, "Rejected.StateModifiedFailed": kms.ErrKeyState,
			"Forbidden.NoPermission": kms.ErrDenied, "InvalidParameter": kms.ErrInvalid, "Rejected.Throttling": kms.ErrTransient,
		} {
			if got := Classify(action, 400, code); !errors.Is(got.Class, want) {
				t.Errorf("%s, %s: %v, want %v", action, code, got.Class, want)
			}
		}
	}
}
