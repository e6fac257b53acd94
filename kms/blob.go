package kms

import (
	"encoding/base64"
	"fmt"
)

const (
	// MaxPlaintext is the longest plaintext Encrypt takes, in bytes
	// (6 KB in the service's limits).
	MaxPlaintext = 6144

	// MaxBlobFile is the longest file that is looked at as a blob, in
	// bytes. The longest known blob (6144 bytes of plaintext in the longest
	// layout) has 11,080; the rest is room for white space.
	MaxBlobFile = 64 << 10

	// UnknownSize is the size of a plaintext that only the service can tell.
	UnknownSize = -1
)

// Blob is a recognised CiphertextBlob. It is the file that holds it, too, but
// that what an id of a key version tells of it is the vendor's to say (Under).
//
// INVARIANT: Text is canonical padded standard base64 without white space, and
// decodes to what the other fields say.
type Blob struct {
	Text         string
	KeyVersionID string // empty as long as only the service knows it
	// PlaintextSize is exact, in bytes, or UnknownSize.
	PlaintextSize int
}

var strictBase64 = base64.StdEncoding.Strict()

// Check compares the length of an answer with what the blob promised. A
// mismatch is an error of class ErrBadAnswer, and the answer must not be
// served or kept.
func (b Blob) Check(d *Decrypted) error {
	bad := func(format string, a ...any) error {
		return &Error{Class: ErrBadAnswer, Action: "Decrypt", RequestID: d.RequestID, Detail: fmt.Sprintf(format, a...)}
	}
	n := len(d.Plaintext)
	switch {
	case b.PlaintextSize != UnknownSize && n != b.PlaintextSize:
		return bad("%d bytes of plaintext, the ciphertext holds %d", n, b.PlaintextSize)
	case n > strictBase64.DecodedLen(len(b.Text)):
		return bad("%d bytes of plaintext, more than the ciphertext can hold", n)
	}
	return nil
}

// Head is the first bytes of what the blob's text decodes to, at most so many.
func (b Blob) Head(most int) string {
	raw, _ := strictBase64.DecodeString(b.Text[:min(len(b.Text), (most+2)/3*4)])
	return string(raw[:min(len(raw), most)])
}

// Refusal is nil: it is a ciphertext.
func (b Blob) Refusal() *NotCiphertext { return nil }

// Size is exact for a secret that is the plaintext itself.
func (b Blob) Size(encoding Encoding) int {
	if encoding != Raw {
		return UnknownSize
	}
	return b.PlaintextSize
}

// Identity is the blob: white space around it decides nothing.
func (b Blob) Identity() (kind, text string) { return "direct", b.Text }

// KeyVersion is the id that the blob itself names.
func (b Blob) KeyVersion() string { return b.KeyVersionID }
