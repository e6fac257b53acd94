package account

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

const (
	ivLen   = 12
	tagLen  = 16
	minBlob = 36 + ivLen + tagLen // bytes of the shortest blob, of no plaintext
)

// sealer makes a CiphertextBlob in one of the layouts.
type sealer func(versionID string, material []byte, plaintext string, aad []byte) (string, error)

// layouts are those that new ciphertext can have. No name stands for the
// current one.
var layouts = map[string]sealer{"": sealBlob, "current": sealBlob, "2019": sealNested}

// HasLayout says whether new ciphertext can have a layout.
func HasLayout(name string) bool { return layouts[name] != nil }

// sealBlob makes a CiphertextBlob in the current layout: base64(version id ‖
// IV 12 ‖ AES-256-GCM ciphertext ‖ tag 16). Whatever the length of the id, it
// is the head as it is.
func sealBlob(versionID string, material []byte, plaintext string, aad []byte) (string, error) {
	gcm, err := newGCM(material)
	if err != nil {
		return "", err
	}
	iv := make([]byte, ivLen)
	rand.Read(iv) // never fails
	raw := slices.Concat([]byte(versionID), iv)
	return base64.StdEncoding.EncodeToString(gcm.Seal(raw, iv, []byte(plaintext), aad)), nil
}

// decodeBlob returns the bytes of a CiphertextBlob parameter. White space in or
// around it, which an editor leaves in a file and some clients send on as %0A,
// is refused with InvalidParameter: whether the service is lenient is not
// known, so a client must not count on it.
func decodeBlob(text string) ([]byte, error) {
	// The decoder skips line breaks.
	if strings.ContainsAny(text, "\r\n") {
		return nil, wire.Invalid("CiphertextBlob")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < minBlob {
		return nil, wire.Invalid("CiphertextBlob")
	}
	return raw, nil
}

// named is a key version that a blob names.
type named struct {
	id      string
	version *version
	key     *key
}

// head finds the version that a blob begins with: the longest id that exists.
// An unknown one is also what another region's blob looks like. Its code is not
// documented; chosen: Forbidden.KeyNotFound.
func (v view) head(raw []byte) (n named, err error) {
	for _, length := range versionLengths {
		n.id = string(raw[:length])
		n.version, n.key, err = v.version(n.id)
		if !errors.Is(err, wire.ErrKeyNotFound) {
			return n, err
		}
	}
	return n, wire.ErrKeyNotFound
}

// openBlob returns the plaintext of what a blob has behind its head. What the
// service answers to a damaged blob or another encryption context is not
// documented; 400 InvalidParameter is the choice of this package, and clients
// must not depend on it.
func openBlob(body, material, aad []byte) (string, error) {
	if inner, ok := nestedBody(body); ok {
		return openNested(inner, material, aad)
	}
	gcm, err := newGCM(material)
	if err != nil {
		return "", err
	}
	if len(body) < ivLen+tagLen {
		return "", wire.Invalid("CiphertextBlob")
	}
	plaintext, err := gcm.Open(nil, body[:ivLen], body[ivLen:], aad)
	if err != nil {
		return "", wire.ErrUndecryptable
	}
	return string(plaintext), nil
}

func newGCM(material []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(material)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
