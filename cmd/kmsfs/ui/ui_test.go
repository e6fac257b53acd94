package ui

import (
	"testing"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun"
)

// Every class of error that a user can do something about has a hint.
func TestHints(t *testing.T) {
	for _, err := range []error{aliyun.ErrNoCredentials, aliyun.ErrHalfCredentials, aliyun.ErrTestOnlyCA, aliyun.ErrUnsafeEnvironment, aliyun.ErrBadRegion, aliyun.ErrBadEndpoint, aliyun.ErrNoProfile,
		aliyun.ErrBadProfile, aliyun.ErrBadSource, aliyun.ErrUnsafeFile, aliyun.ErrProcessRefused, aliyun.ErrUnsupportedMode,
		kms.ErrAuthentication, kms.ErrDenied, kms.ErrKeyState, kms.ErrBadCiphertext, kms.ErrTransient} {
		if hintFor(err) == "" {
			t.Errorf("%v has no hint", err)
		}
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{"plain": "plain", "a\nb\x1b[0m": `a\x0ab\x1b[0m`, "c1\u009b": "c1?", "bidi\u202e": "bidi?", "é": "é"} {
		if got := OneLine(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
