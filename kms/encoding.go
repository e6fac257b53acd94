package kms

import (
	"bytes"
	"encoding/base64"
	"errors"
)

// Encoding says what the plaintext of a ciphertext is. The service keeps any
// text; some clients give it the secret itself, others base64 of it, and no
// look at the text tells which ("root" is good base64).
type Encoding int

const (
	// Raw is the secret as it is. So its size follows from the blob.
	Raw Encoding = iota
	// Base64 is standard base64 with padding; one line end behind it is
	// ignored. The size of the secret is known only after decrypting.
	Base64
)

// ErrEncoding: the plaintext is not what the encoding says. It matches
// ErrBadCiphertext: for a reader the file is damaged.
var ErrEncoding = &Error{Class: ErrBadCiphertext, Action: "Decrypt", Detail: "the plaintext is not standard base64 (see the option encoding)"}

// Decode turns what the service keeps into the secret. It wipes text unless
// that is the secret itself.
func (e Encoding) Decode(text []byte) ([]byte, error) {
	if e == Raw {
		return text, nil
	}
	defer clear(text)
	body := text
	if b, ok := bytes.CutSuffix(body, []byte("\n")); ok {
		body, _ = bytes.CutSuffix(b, []byte("\r"))
	}
	if bytes.ContainsAny(body, "\r\n") { // the decoder would skip them
		return nil, ErrEncoding
	}
	secret := make([]byte, blobBase64.DecodedLen(len(body)))
	n, err := blobBase64.Decode(secret, body)
	if err != nil {
		clear(secret)
		return nil, ErrEncoding // its own error quotes nothing, but counts bytes
	}
	return secret[:n], nil
}

// Encode turns a secret into what the service is to keep. The caller wipes
// both.
func (e Encoding) Encode(secret []byte) []byte {
	if e == Raw {
		return secret
	}
	return base64.StdEncoding.AppendEncode(nil, secret)
}

// MaxSecret is the longest secret that can be encrypted in this encoding, in
// bytes.
func (e Encoding) MaxSecret() int {
	if e == Raw {
		return MaxPlaintext
	}
	return MaxPlaintext / 4 * 3
}

// ParseEncoding reads the name of an encoding.
func ParseEncoding(s string) (Encoding, error) {
	switch s {
	case "raw":
		return Raw, nil
	case "base64":
		return Base64, nil
	}
	return 0, errors.New("neither raw nor base64")
}
