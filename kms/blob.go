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

// Blob is a recognised CiphertextBlob.
//
// INVARIANT: Text is canonical padded standard base64 without white space, and
// decodes to what the other fields say.
type Blob struct {
	Text         string
	KeyVersionID string // empty as long as only the service knows it
	// PlaintextSize is exact, in bytes, or UnknownSize.
	PlaintextSize int
}

// Recogniser tells what a .cipher file holds. How a blob is laid out is the
// service's matter, so whoever speaks to it brings one. Both verbs are quick and
// know nothing but their arguments; they are safe for concurrent use.
type Recogniser interface {
	// Recognise finds the one blob that a file holds. Its errors are of type
	// *NotCiphertext.
	Recognise(file []byte) (Blob, error)
	// Under is a blob of unknown size seen as one of a key version, with the
	// id of which it begins (Head); false if it is none. Once an answer has
	// named a version, its other blobs are known.
	Under(blob Blob, version string) (Blob, bool)
}

// NotCiphertext is the error of a Recogniser: what a file is instead, as far as
// it can be told from its form, and what to do about it.
//
// INVARIANT: Reason quotes nothing of the file.
type NotCiphertext struct {
	Reason string
	// Exposed says that the file is a secret which was never encrypted.
	Exposed bool
}

// Error is the same in the log of a mount and from every command.
func (e *NotCiphertext) Error() string { return "not a ciphertext: " + e.Reason }

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
