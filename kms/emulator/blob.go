package emulator

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"slices"

	"github.com/kmsfs/kmsfs/kms"
)

const (
	versionLen = 36 // a key version id as ASCII, the head of every blob
	ivLen      = 12
)

// sealer makes a CiphertextBlob in one of the layouts.
type sealer func(versionID string, material []byte, plaintext string, aad []byte) (string, error)

// sealBlob makes a CiphertextBlob in the current layout: base64(version id ‖
// IV 12 ‖ AES-256-GCM ciphertext ‖ tag 16).
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

// recogniseBlob returns the layout of a CiphertextBlob parameter. White space
// around it, which an editor leaves in a file and some clients send on as %0A,
// is refused with InvalidParameter: whether the service is lenient is not
// known, so a client must not count on it.
func recogniseBlob(text string) (kms.Blob, error) {
	b, err := kms.ParseBlob([]byte(text))
	if err != nil || b.Text != text {
		return kms.Blob{}, errInvalid("CiphertextBlob")
	}
	return b, nil
}

// openBlob returns the plaintext of a blob. What the service answers to a
// damaged blob or another encryption context is not documented; 400
// InvalidParameter is the choice of this package, and clients must not depend
// on it.
func openBlob(b kms.Blob, material, aad []byte) (string, error) {
	if b.Layout == kms.LayoutNested {
		return openNested(b, material, aad)
	}
	raw, err := base64.StdEncoding.DecodeString(b.Text)
	if err != nil {
		return "", errUndecryptable
	}
	gcm, err := newGCM(material)
	if err != nil {
		return "", err
	}
	iv, sealed := raw[versionLen:versionLen+ivLen], raw[versionLen+ivLen:]
	plaintext, err := gcm.Open(nil, iv, sealed, aad)
	if err != nil {
		return "", errUndecryptable
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
