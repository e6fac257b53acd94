package kms

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
)

const (
	// MaxPlaintext is the longest plaintext Encrypt takes, in bytes
	// (6 KB in the service's limits).
	MaxPlaintext = 6144

	// MaxBlobFile is the longest file that is looked at as a blob, in
	// bytes. The longest known blob (6144 bytes of plaintext in the nested
	// layout) has 11,080; the rest is room for white space.
	MaxBlobFile = 64 << 10

	versionLen = 36 // a key version id: a UUID as ASCII
	ivLen      = 12
	tagLen     = 16

	// The layout of 2019 stores, as base64 text behind the version id,
	// 24 random bytes, 8 zero bytes, the ciphertext and the tag.
	nestedRandom = 24
	nestedZeros  = 8
)

// Layout tells the known forms of a CiphertextBlob apart.
type Layout int

const (
	// LayoutCurrent is base64(version id ‖ IV 12 ‖ ciphertext n ‖ tag 16).
	LayoutCurrent Layout = iota + 1
	// LayoutNested is the form of 2019: base64(version id ‖ base64(random
	// 24 ‖ zeros 8 ‖ ciphertext n ‖ tag 16)).
	LayoutNested
)

func (l Layout) String() string {
	switch l {
	case LayoutCurrent:
		return "current"
	case LayoutNested:
		return "nested"
	}
	return fmt.Sprintf("Layout(%d)", int(l))
}

// Blob is a recognised CiphertextBlob.
//
// INVARIANT: Text is canonical padded standard base64 without white space,
// and decodes to the layout, version and size that the other fields say.
type Blob struct {
	Text         string
	Layout       Layout
	KeyVersionID string
	// PlaintextSize is exact, in bytes: AES-GCM adds nothing but its IV
	// and its tag.
	PlaintextSize int
}

var blobBase64 = base64.StdEncoding.Strict()

// ParseBlob recognises the content of a .cipher file: one CiphertextBlob in a
// known layout, with white space around it and nowhere else. Its errors
// describe the form and never quote the content.
func ParseBlob(file []byte) (Blob, error) {
	if len(file) > MaxBlobFile {
		return Blob{}, fmt.Errorf("longer than %d bytes", MaxBlobFile)
	}
	text := bytes.Trim(file, " \t\r\n\v\f")
	if len(text) == 0 {
		return Blob{}, errors.New("empty")
	}
	// The decoder skips line breaks in the middle; a blob has none.
	if bytes.ContainsAny(text, "\r\n") {
		return Blob{}, errors.New("not one line of base64")
	}
	raw := make([]byte, blobBase64.DecodedLen(len(text)))
	n, err := blobBase64.Decode(raw, text)
	if err != nil {
		return Blob{}, errors.New("not base64")
	}
	raw = raw[:n]
	if len(raw) < versionLen || !isUUID(raw[:versionLen]) {
		return Blob{}, errors.New("does not start with a key version id")
	}
	b := Blob{Text: string(text), KeyVersionID: string(raw[:versionLen])}
	body := raw[versionLen:]
	if size, ok := nestedSize(body); ok {
		b.Layout, b.PlaintextSize = LayoutNested, size
		return b, nil
	}
	if len(body) < ivLen+tagLen {
		return Blob{}, errors.New("too short for a ciphertext")
	}
	b.Layout, b.PlaintextSize = LayoutCurrent, len(body)-ivLen-tagLen
	return b, nil
}

// nestedSize recognises the layout of 2019 by three independent marks: the
// body is canonical base64, long enough, and has its eight zero bytes. A body
// in the current layout passes all three with a chance below 2^-64.
func nestedSize(body []byte) (int, bool) {
	if bytes.ContainsAny(body, "\r\n") {
		return 0, false
	}
	inner := make([]byte, blobBase64.DecodedLen(len(body)))
	n, err := blobBase64.Decode(inner, body)
	if err != nil || n < nestedRandom+nestedZeros+tagLen {
		return 0, false
	}
	for _, z := range inner[nestedRandom : nestedRandom+nestedZeros] {
		if z != 0 {
			return 0, false
		}
	}
	return n - nestedRandom - nestedZeros - tagLen, true
}

func isUUID(b []byte) bool {
	for i, c := range b {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return false
			}
		}
	}
	return len(b) == versionLen
}

// Check compares an answer with what the blob promised: the length and the
// key version. A mismatch is an error of class ErrBadAnswer, and the answer
// must not be served or kept.
func (b Blob) Check(d *Decrypted) error {
	bad := func(format string, a ...any) error {
		return &Error{Class: ErrBadAnswer, Action: "Decrypt", RequestID: d.RequestID, Detail: fmt.Sprintf(format, a...)}
	}
	if len(d.Plaintext) != b.PlaintextSize {
		return bad("%d bytes of plaintext, the ciphertext holds %d", len(d.Plaintext), b.PlaintextSize)
	}
	if d.KeyVersionID != b.KeyVersionID {
		return bad("key version differs from the ciphertext's")
	}
	return nil
}
