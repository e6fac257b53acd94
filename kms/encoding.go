package kms

import (
	"bytes"
	"encoding/base64"
	"errors"
	"regexp"
)

// Encoding says what the plaintext of a ciphertext is. The service keeps any
// text; some clients give it the secret itself, others base64 of it, and no
// look at the text tells which ("root" is good base64).
type Encoding int

const (
	// Raw is the secret as it is. So its size follows from the blob.
	Raw Encoding = iota
	// Base64 is standard base64 with padding, in one line or in lines of one
	// length, as base64, openssl and Python write it; one line end behind it
	// is ignored. The size of the secret is known only after decrypting.
	Base64
	// Auto is Base64 where what comes out is a PEM, and Raw where it is not.
	// No PEM is base64, so there is nothing to mistake.
	Auto
)

var (
	pemBegins = []byte("-----BEGIN ")
	urlSafe   = regexp.MustCompile(`^[A-Za-z0-9_=-]+$`)
	alphabet  = regexp.MustCompile(`^[A-Za-z0-9+/]+=*$`)
)

// Decode turns what the service keeps into the secret. It wipes text unless
// that is the secret itself. For a reader a text that is not what the encoding
// says is a damaged file: the error is of class ErrBadCiphertext.
func (e Encoding) Decode(text []byte) ([]byte, error) {
	if e == Raw {
		return text, nil
	}
	secret, cause := decodeLines(text)
	switch {
	case e == Auto && bytes.HasPrefix(secret, pemBegins):
		clear(text)
		return secret, nil
	case e == Auto:
		clear(secret)
		return text, nil
	}
	defer clear(text)
	if cause != "" {
		return nil, &Error{
			Class: ErrBadCiphertext, Action: "Decrypt", Detail: "the plaintext is not what encoding=base64 says: " + cause,
			Hint: "was it encrypted as it is? Then mount with encoding=raw, or with encoding=auto where both kinds are",
		}
	}
	return secret, nil
}

// base64OfPEM says what Auto would do. It leaves no copy behind.
func base64OfPEM(text []byte) bool {
	secret, _ := decodeLines(text)
	defer clear(secret)
	return bytes.HasPrefix(secret, pemBegins)
}

// decodeLines decodes base64 in one or more lines. Where it is none, cause says
// why, without a byte of it. The caller clears what it gets.
func decodeLines(text []byte) (secret []byte, cause string) {
	body := text
	if b, ok := bytes.CutSuffix(body, []byte("\n")); ok {
		body, _ = bytes.CutSuffix(b, []byte("\r"))
	}
	if joined, ok := JoinLines(body); ok {
		defer clear(joined)
		body = joined
	}
	secret = make([]byte, strictBase64.DecodedLen(len(body)))
	n, err := strictBase64.Decode(secret, body)
	if err != nil || bytes.ContainsAny(body, "\r\n") { // the decoder would skip them
		clear(secret)
		return nil, whyNotBase64(body)
	}
	return secret[:n], ""
}

// JoinLines joins the lines of a wrapped text: all of one length, but the last
// one, which may be shorter. Lines end with LF or CRLF. It is false for a text
// of one line, for lines of other lengths, and for blanks at the end of one. The
// result is a copy.
func JoinLines(text []byte) ([]byte, bool) {
	if !bytes.ContainsRune(text, '\n') || text[len(text)-1] == '\n' {
		return nil, false
	}
	joined := make([]byte, 0, len(text))
	width := 0
	for line := range bytes.Lines(text) {
		last := line[len(line)-1] != '\n'
		if !last {
			line = bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))
		}
		if width == 0 {
			width = len(line)
		}
		if len(line) == 0 || len(bytes.TrimSpace(line)) < len(line) || len(line) > width || len(line) < width && !last {
			clear(joined)
			return nil, false
		}
		joined = append(joined, line...)
	}
	return joined, true
}

// whyNotBase64 looks for the usual causes.
func whyNotBase64(body []byte) string {
	switch {
	case bytes.HasPrefix(body, pemBegins):
		return "it is a PEM itself"
	case bytes.ContainsAny(body, " \t"):
		return "a blank is in it"
	case bytes.ContainsAny(body, "\r\n"):
		return "its lines are not equally long, or end with CR alone"
	case urlSafe.Match(body) && bytes.ContainsAny(body, "-_"):
		return "it is base64url, with - and _ in place of + and /"
	case alphabet.Match(body):
		return "its = padding is missing or wrong"
	}
	return "it is not base64"
}

// Encode turns a secret into what the service is to keep. The caller wipes
// both.
func (e Encoding) Encode(secret []byte) []byte {
	if e != Base64 {
		return secret
	}
	return base64.StdEncoding.AppendEncode(nil, secret)
}

// MaxSecret is the longest secret that can be encrypted in this encoding, in
// bytes.
func (e Encoding) MaxSecret() int {
	if e != Base64 {
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
	case "auto":
		return Auto, nil
	}
	return 0, errors.New("neither raw, base64 nor auto")
}
