package blobs

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"unicode/utf16"

	"github.com/kmsfs/kmsfs/kms"
)

// unwrap finds the text of the one blob that a file holds. The rule: what
// editors, shells and encoders put around or into a text without changing it is
// taken off, in this order, each at most once:
//
//   - UTF-16, with or without a byte order mark, if it stands for ASCII;
//   - the byte order mark of UTF-8;
//   - white space around it;
//   - one pair of quotes, double or single, around all of it;
//   - line breaks of a wrapped text (see kms.JoinLines), unless the lines may be a
//     ciphertext and something else: a later one begins a ciphertext of its own,
//     or there are two and the first could be one.
//
// Nothing is repaired: what has lost a character, or may be two things, stays
// as it is, and is no ciphertext.
func unwrap(file []byte) []byte {
	text := file
	if ascii, ok := fromUTF16(text); ok {
		text = ascii
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	text = trimSpace(text)
	if n := len(text); n >= 2 && text[0] == text[n-1] && (text[0] == '"' || text[0] == '\'') {
		text = trimSpace(text[1 : n-1])
	}
	if joined, ok := kms.JoinLines(text); ok && padded.Match(joined) && !laterBlob(text) {
		text = joined
	}
	return text
}

func trimSpace(text []byte) []byte { return bytes.Trim(text, " \t\r\n\v\f") }

// fromUTF16 returns the ASCII that a text in UTF-16 stands for.
func fromUTF16(file []byte) ([]byte, bool) {
	if len(file) < 4 || len(file)%2 != 0 {
		return nil, false
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case file[0] == 0xff && file[1] == 0xfe, file[1] == 0 && file[0] != 0:
	case file[0] == 0xfe && file[1] == 0xff, file[0] == 0 && file[1] != 0:
		order = binary.BigEndian
	default:
		return nil, false
	}
	ascii := make([]byte, 0, len(file)/2)
	for i := 0; i < len(file); i += 2 {
		c := order.Uint16(file[i:])
		switch {
		case i == 0 && c == 0xfeff:
		case c == 0 || c > 0x7f || utf16.IsSurrogate(rune(c)):
			return nil, false
		default:
			ascii = append(ascii, byte(c))
		}
	}
	return ascii, true
}

// laterBlob says whether lines may be several texts, not one that was wrapped.
func laterBlob(text []byte) bool {
	first, later, _ := bytes.Cut(text, []byte("\n"))
	if len(first) >= minBlob/3*4 && bytes.IndexByte(later, '\n') < 0 {
		return true
	}
	for line := range bytes.Lines(later) {
		if beginsBlob(line) {
			return true
		}
	}
	return false
}

var versionForm = regexp.MustCompile(`^([0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}|key-[0-9a-z]{8,}-[0-9a-z]{4})`)

// beginsVersion tells what stands before the first hyphen of a version id from most
// of what stands before other hyphens, much quicker than versionForm.
func beginsVersion(b []byte) bool {
	if string(b) == "key" {
		return true
	}
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// beginsBlob is stricter than layoutOf: text in base64, such as the nested layout
// has inside, may have anything else in front.
func beginsBlob(line []byte) bool {
	line = bytes.TrimRight(line, "\r\n")
	raw := make([]byte, blobBase64.DecodedLen(len(line)))
	n, _ := blobBase64.Decode(raw, line[:len(line)/4*4])
	return n >= versionLen && versionForm.Match(raw[:versionLen])
}
