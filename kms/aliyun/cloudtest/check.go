package cloudtest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms"
)

// Clean fails if any form of an error shows what none may show.
func Clean(t testing.TB, name string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", name)
		return
	}
	text := fmt.Sprintf("%v | %+v | %#v | %s", err, err, err, JSON(map[string]any{"err": err}))
	for _, bad := range []string{
		"canary", url.QueryEscape(Plaintext), base64.StdEncoding.EncodeToString([]byte(Plaintext)),
		CanaryBlob, CanaryBlob[:16], AccessKey, SecretKey, Token,
		"://", "Signature=", "AccessKeyId=", "SecurityToken=", "CiphertextBlob=", "Plaintext=", "<html",
	} {
		if strings.Contains(text, bad) {
			t.Errorf("%s: the error shows %q: %s", name, bad, text)
		}
	}
}

var classes = []error{
	kms.ErrTransient, kms.ErrAuthentication, kms.ErrConfiguration, kms.ErrDenied, kms.ErrKeyState,
	kms.ErrBadCiphertext, kms.ErrBadAnswer, kms.ErrInvalid,
}

// WantClass requires a *kms.Error of exactly one class.
func WantClass(t testing.TB, name string, err, class error) {
	t.Helper()
	var e *kms.Error
	if !errors.As(err, &e) {
		t.Errorf("%s: %v is no *kms.Error", name, err)
		return
	}
	for _, c := range classes {
		if errors.Is(err, c) != (c == class) {
			t.Errorf("%s: %v, want class %q", name, err, class)
			return
		}
	}
	if e.Action == "" {
		t.Errorf("%s: no action in %v", name, err)
	}
}
