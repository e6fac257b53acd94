package aliyun

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/kmsfs/kmsfs/kms"
)

const (
	maxContext     = 8192 // characters of JSON, as documented for EncryptionContext
	maxDescription = 8192 // characters
)

func invalid(action, detail string) error {
	return &kms.Error{Class: kms.ErrInvalid, Action: action, Detail: "not sent: " + detail}
}

// contextForm starts a request's form with the encryption context. All
// parameters travel in the body: a context alone can make a URL longer than
// proxies take.
func contextForm(action string, ec kms.EncryptionContext) (map[string]string, error) {
	form := map[string]string{}
	if len(ec) == 0 {
		return form, nil // {} would be another context than none
	}
	for name, value := range ec {
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			// encoding/json would alter it silently.
			return nil, invalid(action, "the encryption context is not UTF-8")
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b) // sorts the names
	enc.SetEscapeHTML(false)
	if err := enc.Encode(ec); err != nil {
		return nil, invalid(action, "the encryption context is not JSON")
	}
	text := strings.TrimSuffix(b.String(), "\n")
	if utf8.RuneCountInString(text) > maxContext {
		return nil, invalid(action, "the encryption context is longer than the service takes")
	}
	form["EncryptionContext"] = text
	return form, nil
}

// checkKeyID takes ids, ARNs and aliases, and leaves the rest to the service.
func checkKeyID(action, keyID string) error {
	switch {
	case keyID == "":
		return invalid(action, "no key is named")
	case len(keyID) > 1024 || !utf8.ValidString(keyID):
		return invalid(action, "the key's name is malformed")
	}
	return nil
}
