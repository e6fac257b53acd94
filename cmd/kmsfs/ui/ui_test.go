package ui

import (
	"testing"

	"github.com/kmsfs/kmsfs/fs/trusted"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun"
	"github.com/kmsfs/kmsfs/kms/aliyun/credentials"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

// Every class of error that a user can do something about has a hint.
func TestHints(t *testing.T) {
	for _, err := range []error{credentials.ErrNone, credentials.ErrHalf, scrub.ErrTestOnlyCA, aliyun.ErrUnsafeEnvironment, aliyun.ErrBadRegion, aliyun.ErrBadEndpoint, credentials.ErrNoProfile,
		credentials.ErrBadProfile, credentials.ErrBadSource, trusted.ErrUnsafe, credentials.ErrProcessRefused, credentials.ErrUnsupportedMode,
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
