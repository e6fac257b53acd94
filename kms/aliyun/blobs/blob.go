package blobs

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/kmsfs/kmsfs/kms"
)

const (
	// maxBlobText bounds one blob: the longest known one, and half as much for
	// layouts that nobody knows yet.
	maxBlobText = 16 << 10

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

	// The layout of 2019 stores these before the ciphertext.
	nestedRandom = 24
	nestedZeros  = 8
)

// Recogniser is the kms.Recogniser of the service's blobs. It tells three
// layouts apart:
//
//   - the current one is base64(version id ‖ IV 12 ‖ ciphertext n ‖ tag 16);
//   - the nested one, of 2019, is base64(version id ‖ base64(random 24 ‖ zeros 8
//     ‖ ciphertext n ‖ tag 16));
//   - any other base64 of at least 64 bytes is of an unknown one. Only the
//     service knows what is in it, so it has neither a version nor a size.
//
// Of the known ones the size is exact: AES-GCM adds nothing but its IV and its
// tag.
type Recogniser struct{}

var _ kms.Recogniser = Recogniser{}

var blobBase64 = base64.StdEncoding.Strict()

// Recognise implements kms.Recogniser.
func (Recogniser) Recognise(file []byte) kms.Ciphertext {
	b, not := Of(file)
	if not != nil {
		return not
	}
	return direct{b}
}

// direct is a file that holds one blob.
type direct struct{ kms.Blob }

// longestVersion bounds a key version id in front of a blob of unknown layout.
const longestVersion = 64

// Under implements kms.Ciphertext, by the longest id that the blob begins with.
func (d direct) Under(known func(version string) bool) kms.Ciphertext {
	if d.PlaintextSize != kms.UnknownSize {
		return d
	}
	head := d.Head(longestVersion)
	for n := len(head); n > 0; n-- {
		if known(head[:n]) {
			b, _ := Under(d.Blob, head[:n])
			return direct{b}
		}
	}
	return d
}

// Of finds the one blob that a file holds: it is what unwrap finds.
func Of(file []byte) (kms.Blob, *kms.NotCiphertext) {
	if len(file) > kms.MaxBlobFile {
		return kms.Blob{}, &kms.NotCiphertext{Reason: fmt.Sprintf("longer than %d bytes", kms.MaxBlobFile)}
	}
	text := unwrap(file)
	raw, ok := decodeBlob(text)
	switch {
	case !ok:
		return kms.Blob{}, otherwise(text)
	case len(raw) < minBlob:
		return kms.Blob{}, tooShort(text, len(raw))
	case len(text) > maxBlobText:
		return kms.Blob{}, &kms.NotCiphertext{
			Reason: fmt.Sprintf("longer than a ciphertext can be: %d characters of base64, the longest has %d", len(text), maxBlobText),
		}
	}
	if what := armoured(raw); what != nil {
		return kms.Blob{}, what
	}
	b := layoutOf(raw)
	b.Text = string(text)
	return b, nil
}

// decodeBlob decodes base64 without line breaks, which the decoder skips.
func decodeBlob(text []byte) (raw []byte, ok bool) {
	if len(text) == 0 || hasLineBreak(text) {
		return nil, false
	}
	raw = make([]byte, blobBase64.DecodedLen(len(text)))
	n, err := blobBase64.Decode(raw, text)
	return raw[:n], err == nil
}

// hasLineBreak is several times quicker than a search for either byte.
func hasLineBreak(b []byte) bool {
	return bytes.IndexByte(b, '\n') >= 0 || bytes.IndexByte(b, '\r') >= 0
}

// layoutOf tells the layouts apart.
func layoutOf(raw []byte) kms.Blob {
	if !isVersionID(raw[:versionLen]) {
		return kms.Blob{PlaintextSize: kms.UnknownSize}
	}
	b := kms.Blob{KeyVersionID: string(raw[:versionLen])}
	if size, ok := nestedSize(raw[versionLen:]); ok {
		b.PlaintextSize = size
		return b
	}
	if mayDiffer(raw) {
		return kms.Blob{PlaintextSize: kms.UnknownSize}
	}
	b.PlaintextSize = len(raw) - minBlob
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

// Under is a blob of unknown size seen as one of a key version: it may have the
// current layout behind an id of another length. It is false if it does not
// begin with that id.
func Under(b kms.Blob, version string) (kms.Blob, bool) {
	raw, err := blobBase64.DecodeString(b.Text)
	if err != nil || version == "" || b.PlaintextSize != kms.UnknownSize ||
		!strings.HasPrefix(string(raw), version) || len(raw) < len(version)+ivLen+tagLen {
		return b, false
	}
	b.KeyVersionID, b.PlaintextSize = version, len(raw)-len(version)-ivLen-tagLen
	return b, true
}

// nestedSize recognises the layout of 2019 by three independent marks: the
// body is canonical base64, long enough, and has its eight zero bytes. A body
// in the current layout passes all three with a chance below 2^-64.
func nestedSize(body []byte) (int, bool) {
	if hasLineBreak(body) {
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

// IsSealed tells whether a file holds a blob that begins with a key version id in
// a form that the service has, and not only with bytes that might be one.
func IsSealed(file []byte) bool {
	b, not := Of(file)
	return not == nil && versionForm.MatchString(VersionHead(b))
}

// VersionHead is what a blob begins with, if that can be a key version id: the
// first 36 bytes of one that may be longer. Else it is empty.
func VersionHead(b kms.Blob) string {
	head := b.Head(versionLen)
	if len(head) < versionLen || !isVersionID([]byte(head)) {
		return ""
	}
	return head
}

// Moved returns the head of a blob if an answer names another key version, as
// it may after a key was migrated to another instance; else nothing.
func Moved(b kms.Blob, answer kms.Origin) (from string) {
	if head := VersionHead(b); !strings.HasPrefix(answer.KeyVersionID, head) && !strings.HasPrefix(head, answer.KeyVersionID) {
		return head
	}
	return ""
}
