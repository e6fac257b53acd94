package kms

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
)

const (
	// MaxPlaintext is the longest plaintext Encrypt takes, in bytes
	// (6 KB in the service's limits).
	MaxPlaintext = 6144

	// MaxBlobFile is the longest file that is looked at as a blob, in
	// bytes. The longest known blob (6144 bytes of plaintext in the nested
	// layout) has 11,080; the rest is room for white space.
	MaxBlobFile = 64 << 10

	// maxBlobText bounds one blob: the longest known one, and half as much for
	// layouts that nobody knows yet.
	maxBlobText = 16 << 10

	// UnknownSize is the size of a plaintext that only the service can tell.
	UnknownSize = -1

	// versionLen is the length of a key version id in front of a blob: a
	// UUID for keys of KMS 1.0, KEY-SUFFIX for those of KMS 3.0 (the
	// vendor's own SDK cuts there).
	versionLen = 36
	// suffixLen is what a version id of KMS 3.0 has behind its key id, with
	// the hyphen.
	suffixLen = 11
	ivLen     = 12
	tagLen    = 16
	minBlob   = versionLen + ivLen + tagLen

	// The layout of 2019 stores, as base64 text behind the version id,
	// 24 random bytes, 8 zero bytes, the ciphertext and the tag.
	nestedRandom = 24
	nestedZeros  = 8
)

// Layout tells the forms of a CiphertextBlob apart.
type Layout int

const (
	// LayoutUnknown is any other base64 of at least 64 bytes. Only the
	// service knows what is in it.
	LayoutUnknown Layout = iota
	// LayoutCurrent is base64(version id ‖ IV 12 ‖ ciphertext n ‖ tag 16).
	LayoutCurrent
	// LayoutNested is the form of 2019: base64(version id ‖ base64(random
	// 24 ‖ zeros 8 ‖ ciphertext n ‖ tag 16)).
	LayoutNested
)

func (l Layout) String() string {
	switch l {
	case LayoutUnknown:
		return "unknown"
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
	KeyVersionID string // empty in an unknown layout
	// PlaintextSize is exact, in bytes: AES-GCM adds nothing but its IV
	// and its tag. UnknownSize in an unknown layout.
	PlaintextSize int
}

var blobBase64 = base64.StdEncoding.Strict()

// ParseBlob recognises the content of a .cipher file: one CiphertextBlob, as
// unwrap finds it. Its errors are of type *NotCiphertext.
func ParseBlob(file []byte) (Blob, error) {
	if len(file) > MaxBlobFile {
		return Blob{}, &NotCiphertext{Reason: fmt.Sprintf("longer than %d bytes", MaxBlobFile)}
	}
	text := unwrap(file)
	raw, ok := decodeBlob(text)
	switch {
	case !ok:
		return Blob{}, otherwise(text)
	case len(raw) < minBlob:
		return Blob{}, tooShort(text, len(raw))
	case len(text) > maxBlobText:
		return Blob{}, &NotCiphertext{Reason: fmt.Sprintf("longer than a ciphertext can be: %d characters of base64, the longest has %d", len(text), maxBlobText)}
	}
	if what := armoured(raw); what != nil {
		return Blob{}, what
	}
	b := blobOf(raw)
	b.Text = string(text)
	return b, nil
}

// decodeBlob decodes base64 without line breaks, which the decoder skips.
func decodeBlob(text []byte) (raw []byte, ok bool) {
	if len(text) == 0 || bytes.ContainsAny(text, "\r\n") {
		return nil, false
	}
	raw = make([]byte, blobBase64.DecodedLen(len(text)))
	n, err := blobBase64.Decode(raw, text)
	return raw[:n], err == nil
}

// blobOf tells the layouts apart.
func blobOf(raw []byte) Blob {
	if !isVersionID(raw[:versionLen]) {
		return Blob{PlaintextSize: UnknownSize}
	}
	b := Blob{KeyVersionID: string(raw[:versionLen])}
	if size, ok := nestedSize(raw[versionLen:]); ok {
		b.Layout, b.PlaintextSize = LayoutNested, size
		return b
	}
	if mayDiffer(raw) {
		return Blob{PlaintextSize: UnknownSize}
	}
	b.Layout, b.PlaintextSize = LayoutCurrent, len(raw)-minBlob
	return b
}

// mayDiffer says that the version id in front may have another length than
// versionLen: that of a KMS 3.0 key with a longer or shorter id has, and where the
// id ends cannot be told from the bytes of the IV.
func mayDiffer(raw []byte) bool {
	rest, ok := bytes.CutPrefix(raw, []byte("key-"))
	if !ok {
		return false
	}
	expected := len("key-") + bytes.IndexByte(rest, '-') + suffixLen
	return expected < versionLen || expected > versionLen && isVersionByte(raw[versionLen])
}

// Under is a blob of an unknown layout seen as one of a key version; false if
// it is none. Once an answer has named a version, its other blobs are known.
func (b Blob) Under(version string) (Blob, bool) {
	raw, err := blobBase64.DecodeString(b.Text)
	if err != nil || version == "" || b.Layout != LayoutUnknown || !strings.HasPrefix(string(raw), version) || len(raw) < len(version)+ivLen+tagLen {
		return b, false
	}
	b.Layout, b.KeyVersionID, b.PlaintextSize = LayoutCurrent, version, len(raw)-len(version)-ivLen-tagLen
	return b, true
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

func isVersionID(b []byte) bool {
	for _, c := range b {
		if !isVersionByte(c) {
			return false
		}
	}
	return true
}

func isVersionByte(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-'
}

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
	case n > blobBase64.DecodedLen(len(b.Text)):
		return bad("%d bytes of plaintext, more than the ciphertext can hold", n)
	}
	return nil
}

// Head is the first bytes of what the blob's text decodes to, at most so many.
func (b Blob) Head(most int) string {
	raw, _ := blobBase64.DecodeString(b.Text[:min(len(b.Text), (most+2)/3*4)])
	return string(raw[:min(len(raw), most)])
}

// NamesVersion says that the blob begins with a key version id in a form that the
// service has, and not only with bytes that might be one.
func (b Blob) NamesVersion() bool { return versionForm.MatchString(b.versionHead()) }

// versionHead is what the blob begins with, if that can be a key version id: the
// first 36 bytes of one that may be longer. Else it is empty.
func (b Blob) versionHead() string {
	head := b.Head(versionLen)
	if len(head) < versionLen || !isVersionID([]byte(head)) {
		return ""
	}
	return head
}

// Moved returns the head of the blob if an answer names another key version, as
// it may after a key was migrated to another instance; else nothing.
func (b Blob) Moved(answer Origin) (from string) {
	if head := b.versionHead(); !strings.HasPrefix(answer.KeyVersionID, head) && !strings.HasPrefix(head, answer.KeyVersionID) {
		return head
	}
	return ""
}
