package account

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

const (
	nestedRandom = 24 // bytes in front of the ciphertext, all different
	nestedZeros  = 8  // and bytes that are zero
)

// sealNested makes a CiphertextBlob in the layout of 2019: base64(version id ‖
// base64(random 24 ‖ zeros 8 ‖ ciphertext ‖ tag 16)). The layout was read off
// blobs of that time. How they were encrypted is not known; chosen: AES-256-GCM
// with the 24 random bytes as the nonce, so that every bit is authenticated.
func sealNested(versionID string, material []byte, plaintext string, aad []byte) (string, error) {
	gcm, err := newNestedGCM(material)
	if err != nil {
		return "", err
	}
	head := make([]byte, nestedRandom+nestedZeros)
	rand.Read(head[:nestedRandom]) // never fails
	inner := gcm.Seal(head, head[:nestedRandom], []byte(plaintext), aad)
	return base64.StdEncoding.EncodeToString([]byte(versionID + base64.StdEncoding.EncodeToString(inner))), nil
}

// nestedBody decodes what a blob of 2019 has behind its head. The current
// layout looks like it with a chance below 2^-64.
func nestedBody(body []byte) ([]byte, bool) {
	// The decoder skips line breaks.
	if bytes.ContainsAny(body, "\r\n") {
		return nil, false
	}
	inner, err := base64.StdEncoding.Strict().DecodeString(string(body))
	if err != nil || len(inner) < nestedRandom+nestedZeros+tagLen {
		return nil, false
	}
	zeros := inner[nestedRandom : nestedRandom+nestedZeros]
	return inner, bytes.Equal(zeros, make([]byte, nestedZeros))
}

func openNested(inner, material, aad []byte) (string, error) {
	gcm, err := newNestedGCM(material)
	if err != nil {
		return "", err
	}
	plaintext, err := gcm.Open(nil, inner[:nestedRandom], inner[nestedRandom+nestedZeros:], aad)
	if err != nil {
		return "", wire.ErrUndecryptable
	}
	return string(plaintext), nil
}

func newNestedGCM(material []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(material)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithNonceSize(block, nestedRandom)
}
