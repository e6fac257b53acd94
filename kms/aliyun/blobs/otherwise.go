package blobs

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/kmsfs/kmsfs/kms"
)

// kept is how a file is made that holds the blob and nothing else.
const kept = "keep only its CiphertextBlob: jq -rj .CiphertextBlob"

// forms are recognised by the beginning of a text, the first one that fits.
var forms = []struct {
	begins  *regexp.Regexp // of the text in lower case
	reason  string
	exposed bool
}{
	{regexp.MustCompile(`^age-encryption\.org/|^-----begin age `), "an age file, which this version does not read", false},
	{regexp.MustCompile(`(?m)^age-secret-key-1`), "a private key of age, which is no ciphertext: an open key lies on the disk", true},
	{regexp.MustCompile(`^-----begin pgp private key`), "a private key of PGP, which KMS has not encrypted", false},
	{regexp.MustCompile(`(?s)^putty-user-key-file-.*\nencryption: none`),
		"a private key of PuTTY that was never encrypted: an open key lies on the disk", true},
	{regexp.MustCompile(`^putty-user-key-file-`), "a private key of PuTTY under a passphrase; KMS has not encrypted it", false},
	{regexp.MustCompile(`^-----begin pgp `), "a PGP message, which is not for KMS", false},
	{regexp.MustCompile(`^version https://git-lfs`), "a pointer of git-lfs, in place of the file: git lfs pull", false},
	{regexp.MustCompile(`^\$ansible_vault`), "a file of ansible-vault, which is not for KMS", false},
	{regexp.MustCompile(`(?s)^\{.*"sops"\s*:`), "a file of SOPS, which is not for KMS Decrypt", false},
	{regexp.MustCompile(`(?s)^\{.*"plaintext"\s*:`),
		"a JSON answer with the plaintext in it: a secret lies on the disk in the open; of GenerateDataKey's answer " + kept, true},
	{regexp.MustCompile(`(?s)^\{.*"ciphertextblob"\s*:`), "a whole JSON answer of the aliyun command or an SDK; " + kept, false},
	{regexp.MustCompile(`(?s)^\{.*"(code|errorcode)"\s*:`), "a JSON answer that says why a call failed", false},
	{regexp.MustCompile(`^[{[]`), "JSON, without a CiphertextBlob", false},
	{regexp.MustCompile(`(?s)^<(!doctype html|html|head|body)`), "an HTML page", false},
	{regexp.MustCompile(`(?s)^<.*<ciphertextblob>`), "a whole XML answer; keep only what stands in CiphertextBlob", false},
	{regexp.MustCompile(`^<<<<<<< `), "a conflict that git has left in the file", false},
	{regexp.MustCompile(`^<nil>$`), "a word in place of a CiphertextBlob, as programs print what is not there", false},
	{regexp.MustCompile(`(?s)^<`), "XML or HTML", false},
	{regexp.MustCompile(`(?s)^"?(error|errorcode|sdk\.|usage)\b.*(errorcode|sdk\.|requestid|aliyun)`),
		"an error message of the aliyun command, in place of its answer", false},
	{regexp.MustCompile(`^error: |^(-?[a-z]*sh|jq|curl|aliyun|python3?): |traceback \(most recent`),
		"an error message of a command, in place of its output", false},
	{regexp.MustCompile(`^["']?ciphertextblob["']?\s*[:=]`),
		"a line that names its CiphertextBlob, as YAML does; keep only the value", false},
	{regexp.MustCompile(`(?s)^[-+| ]*ciphertextblob\b`), "a table of the aliyun command (--output); " + kept, false},
	{regexp.MustCompile(`^(null|none|undefined|true|false)$`),
		"a word in place of a CiphertextBlob, as jq prints what is not there", false},
	{regexp.MustCompile(`(?s)ciphertextblob`), "a text around a CiphertextBlob; " + kept, false},
	{regexp.MustCompile(`^cipher-`), "a configuration of Nacos under its name; keep only the CiphertextBlob", false},
}

var pemBegins = []byte("-----BEGIN ")

// magics are recognised by the first bytes, of a file or of what its base64 stands
// for.
var magics = []struct {
	begins, reason string
}{
	{"\x1f\x8b", "gzip"},
	{"PK\x03\x04", "a zip archive"},
	{"\x7fELF", "a program"},
	{"\xfe\xed\xfe\xed", "a Java keystore, which KMS has not encrypted"},
	{"Salted__", "a file of openssl enc, which is not for KMS"},
	{"\x01\x02\x02\x00", "a ciphertext of AWS KMS"},
}

// binaryForm says what bytes are, if they are none of a ciphertext.
func binaryForm(b []byte) *kms.NotCiphertext {
	for _, m := range magics {
		if bytes.HasPrefix(b, []byte(m.begins)) {
			return &kms.NotCiphertext{Reason: m.reason}
		}
	}
	body, whole := derSequence(b)
	switch {
	case !whole:
		return nil
	case bytes.HasPrefix(body, []byte{2, 1, 0}), bytes.HasPrefix(body, []byte{2, 1, 1}): // PKCS#8, PKCS#1, SEC 1
		return &kms.NotCiphertext{Reason: "a private key in DER that was never encrypted: an open key lies on the disk", Exposed: true}
	case bytes.HasPrefix(body, []byte{2, 1, 3}):
		return &kms.NotCiphertext{Reason: "a PKCS#12 store, which KMS has not encrypted"}
	}
	return &kms.NotCiphertext{Reason: "DER, such as a certificate, which KMS has not encrypted"}
}

// derSequence is the body of a SEQUENCE that takes all bytes.
func derSequence(b []byte) (body []byte, whole bool) {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(b, &v)
	return v.Bytes, err == nil && len(rest) == 0 && v.Tag == asn1.TagSequence && v.IsCompound && len(b) >= 16
}

var (
	percent  = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	escape   = regexp.MustCompile(`\\(u[0-9A-Fa-f]{4}|[/n"])`)
	urlSafe  = regexp.MustCompile(`^[A-Za-z0-9_=-]+$`)
	alphabet = regexp.MustCompile(`^[A-Za-z0-9+/]+=*$`)
	padded   = regexp.MustCompile(`^[A-Za-z0-9+/=]+$`)
	spaced   = regexp.MustCompile(`^[A-Za-z0-9+/ ]+=*$`)
)

// formHead is how much of a text its form is told by, in bytes.
const formHead = 4 << 10

// otherwise says what a text is that is no base64.
func otherwise(text []byte) *kms.NotCiphertext {
	is := func(format string, a ...any) *kms.NotCiphertext {
		return &kms.NotCiphertext{Reason: fmt.Sprintf(format, a...)}
	}
	if len(text) == 0 {
		return is("empty")
	}
	if pem := plainPEM(text); pem != nil {
		return pem
	}
	if form := formOf(text); form != nil {
		return form
	}
	if what := binaryForm(text); what != nil {
		return what
	}
	if len(text) > maxBlobText {
		return is("longer than a ciphertext can be, and not base64")
	}
	switch {
	case len(text) >= minBlob && isVersionID(text[:versionLen]) && !utf8.Valid(text):
		return is("the bytes of a CiphertextBlob; it is kept as base64, as the service gives it")
	case bytes.HasPrefix(text, []byte{0xff, 0xfe}), bytes.HasPrefix(text, []byte{0xfe, 0xff}):
		return is("UTF-16, of which no CiphertextBlob can be made")
	case bytes.IndexByte(text, 0) >= 0:
		return is("a NUL byte is in it, which no editor shows")
	case bytes.IndexByte(text, 0x1b) >= 0:
		return is("an escape sequence of a terminal is in it, such as a colour")
	case bytes.Contains(text, []byte("\u00a0")):
		return is("a no-break space (U+00A0) is in it, which looks like a blank")
	case bytes.ContainsAny(text, "\u200b\u200c\u200d\u2060\ufeff"):
		return is("a character of no width is in it, which no editor shows")
	case !utf8.Valid(text):
		return is("not text")
	case bytes.ContainsRune(text, '\n'):
		return severalLines(text)
	case bytes.IndexByte(text, '\r') >= 0:
		return is("its lines end with CR alone, as nothing writes base64")
	case escape.Match(text):
		return is("escapes of JSON are in it (u003d for =); %s", kept)
	case percent.Match(text):
		return is("URL-encoded: %%2B, %%2F and %%3D stand for +, / and =")
	case bytes.ContainsAny(text, "\"'`,;“”‘’«»"):
		return is("a quote or a comma that belongs to something around it; %s", kept)
	case !ascii(text):
		return is("a character is in it that is not ASCII")
	case spaced.Match(text) && bytes.IndexByte(text, ' ') >= 0:
		return is("blanks are in it; a form turned + into a blank, perhaps")
	case urlSafe.Match(text) && bytes.ContainsAny(text, "-_"):
		return is("base64url: - and _ stand in place of + and /")
	case alphabet.Match(text):
		return badPadding(text)
	case padded.Match(text):
		return is("a = in the middle: two blobs in a row")
	}
	return is("not base64: a character is in it that base64 does not have")
}

func ascii(text []byte) bool {
	return !bytes.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}

func formOf(text []byte) *kms.NotCiphertext {
	lower := bytes.ToLower(text[:min(len(text), formHead)])
	for _, f := range forms {
		if f.begins.Match(lower) {
			return &kms.NotCiphertext{Reason: f.reason, Exposed: f.exposed}
		}
	}
	return nil
}

// plainPEM recognises a PEM, above all a private key that was never encrypted.
func plainPEM(text []byte) *kms.NotCiphertext {
	if !bytes.Contains(text, pemBegins) {
		return nil
	}
	open, locked := privateKeys(text)
	switch {
	case open:
		return &kms.NotCiphertext{
			Reason: "a private key that was never encrypted: an open key lies on the disk; " +
				"encrypt it with kmsfs encrypt, remove this file, and consider the key known",
			Exposed: true,
		}
	case locked:
		return &kms.NotCiphertext{Reason: "a private key under a passphrase; KMS has not encrypted it"}
	case bytes.HasPrefix(text, []byte("-----BEGIN AGE")), bytes.HasPrefix(text, []byte("-----BEGIN PGP")):
		return nil
	case bytes.HasPrefix(text, pemBegins):
		return &kms.NotCiphertext{Reason: "a PEM that was never encrypted"}
	}
	return nil
}

// maxKeys bounds how many private keys of one file are looked at.
const maxKeys = 16

// privateKeys says which kinds of private keys a text holds: open ones, and
// those under a passphrase. One that is cut counts as it begins.
func privateKeys(text []byte) (open, locked bool) {
	for _, m := range privateKey.FindAllIndex(text, maxKeys) {
		rest := text[m[0]:]
		block, _ := pem.Decode(rest)
		switch {
		case bytes.HasPrefix(rest, []byte("-----BEGIN ENCRYPTED")):
			locked = true
		case block != nil && (strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") || opensshCipher(block.Bytes)):
			locked = true
		default:
			open = true
		}
		if block != nil {
			clear(block.Bytes)
		}
	}
	return open, locked
}

// opensshCipher says that the bytes are a key of OpenSSH under a cipher that has a
// name.
func opensshCipher(der []byte) bool {
	rest, openssh := bytes.CutPrefix(der, opensshMagic)
	return openssh && !bytes.HasPrefix(rest, []byte("\x00\x00\x00\x04none"))
}

var (
	privateKey   = regexp.MustCompile(`-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----`)
	opensshMagic = []byte("openssh-key-v1\x00")
)

// armoured recognises base64 of what is something else already.
func armoured(raw []byte) *kms.NotCiphertext {
	what := binaryForm(raw)
	if what == nil && ascii(raw) { // as hardly any ciphertext is
		text := trimSpace(raw)
		what = plainPEM(text)
		if inner, ok := decodeBlob(unwrap(text)); what == nil && ok && len(inner) >= minBlob && versionForm.Match(inner) {
			return &kms.NotCiphertext{Reason: "base64 of a CiphertextBlob, which is base64 already: it was encoded twice"}
		}
		if what == nil && bytes.HasPrefix(text, []byte("{")) {
			what = formOf(text)
		}
	}
	if what != nil {
		what.Reason = "base64 of " + what.Reason
		return what
	}
	if secondBlob(raw) {
		return &kms.NotCiphertext{Reason: "two blobs in a row; a file holds one"}
	}
	return nil
}

// secondBlob says whether another version id stands where none can: behind the
// shortest blob.
func secondBlob(raw []byte) bool {
	if !versionForm.Match(raw[:min(len(raw), longestVersion)]) {
		return false
	}
	for at := minBlob; ; {
		next := bytes.IndexByte(raw[at:], '-')
		if next < 0 {
			return false
		}
		at += next + 1
		for _, before := range []int{8, 3} { // of a UUID, of key-
			from := at - 1 - before
			if from >= minBlob && beginsVersion(raw[from:at-1]) && versionForm.Match(raw[from:min(len(raw), from+versionLen)]) {
				return true
			}
		}
	}
}

// tooShort says what base64 of n bytes is, which are too few.
func tooShort(text []byte, n int) *kms.NotCiphertext {
	if form := formOf(text); form != nil { // null is good base64
		return form
	}
	return &kms.NotCiphertext{Reason: fmt.Sprintf("too short for a ciphertext: base64 of %d bytes, the shortest has %d", n, minBlob)}
}

// severalLines says what lines are that are no wrapped blob.
func severalLines(text []byte) *kms.NotCiphertext {
	lines := bytes.Split(text, []byte("\n"))
	blobs, base64s, blanks := 0, 0, false
	for i, line := range lines {
		line = bytes.TrimSuffix(line, []byte("\r"))
		blanks = blanks || len(trimSpace(line)) < len(line)
		line = trimSpace(line)
		lines[i] = line
		if beginsBlob(line) {
			blobs++
		}
		if _, err := blobBase64.DecodeString(string(line)); err == nil && len(line) > 0 {
			base64s++
		}
	}
	switch n := len(lines); {
	case blobs > 1:
		return &kms.NotCiphertext{Reason: fmt.Sprintf("%d blobs, one in a line; a file holds one", blobs)}
	case beginsBlob(lines[0]) && base64s == n && (n == 3 || n == 4):
		return &kms.NotCiphertext{
			Reason: fmt.Sprintf("an envelope of %d lines, as the vendor's samples write it, which this version does not read", n),
		}
	case blobs == 1 && blanks && base64s == len(lines):
		return &kms.NotCiphertext{Reason: "wrapped base64 with blanks at the ends of its lines"}
	case blobs == 1:
		return &kms.NotCiphertext{Reason: "a CiphertextBlob with other lines beside it; a file holds one blob and nothing else"}
	}
	if blanks && base64s == len(lines) {
		return &kms.NotCiphertext{Reason: "wrapped base64 with blanks at the ends of its lines"}
	}
	return &kms.NotCiphertext{Reason: "lines that are no wrapped base64: those of a blob are equally long, but for the last one"}
}

// badPadding says what is wrong with a text in the alphabet of base64.
func badPadding(text []byte) *kms.NotCiphertext {
	body := bytes.TrimRight(text, "=")
	switch {
	case len(body)%4 == 1:
		return &kms.NotCiphertext{Reason: "not base64: characters are missing at its end, or there is one too many"}
	case len(text)%4 != 0:
		return &kms.NotCiphertext{Reason: "base64 without the = at its end: it was not copied whole"}
	}
	return &kms.NotCiphertext{Reason: "not base64: its last character cannot be one"}
}
