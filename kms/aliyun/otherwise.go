package aliyun

import (
	"bytes"
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
	{regexp.MustCompile(`^-----begin pgp `), "a PGP message, which is not for KMS", false},
	{regexp.MustCompile(`^version https://git-lfs`), "a pointer of git-lfs, in place of the file: git lfs pull", false},
	{regexp.MustCompile(`^\$ansible_vault`), "a file of ansible-vault, which is not for KMS", false},
	{regexp.MustCompile(`(?s)^\{.*"sops"\s*:`), "a file of SOPS, which is not for KMS Decrypt", false},
	{regexp.MustCompile(`(?s)^\{.*"plaintext"\s*:`), "a JSON answer with the plaintext in it: a secret lies on the disk in the open; of GenerateDataKey's answer " + kept, true},
	{regexp.MustCompile(`(?s)^\{.*"ciphertextblob"\s*:`), "a whole JSON answer of the aliyun command or an SDK; " + kept, false},
	{regexp.MustCompile(`(?s)^\{.*"(code|errorcode)"\s*:`), "a JSON answer that says why a call failed", false},
	{regexp.MustCompile(`^[{[]`), "JSON, without a CiphertextBlob", false},
	{regexp.MustCompile(`(?s)^<(!doctype html|html|head|body)`), "an HTML page", false},
	{regexp.MustCompile(`(?s)^<.*<ciphertextblob>`), "a whole XML answer; keep only what stands in CiphertextBlob", false},
	{regexp.MustCompile(`(?s)^<`), "XML or HTML", false},
	{regexp.MustCompile(`(?s)^"?(error|errorcode|sdk\.|usage)\b.*(errorcode|sdk\.|requestid|aliyun)`), "an error message of the aliyun command, in place of its answer", false},
	{regexp.MustCompile(`^["']?ciphertextblob["']?\s*[:=]`), "a line that names its CiphertextBlob, as YAML does; keep only the value", false},
	{regexp.MustCompile(`(?s)^[-+| ]*ciphertextblob\b`), "a table of the aliyun command (--output); " + kept, false},
	{regexp.MustCompile(`^(null|none|undefined|true|false)$`), "a word in place of a CiphertextBlob, as jq prints what is not there", false},
	{regexp.MustCompile(`^cipher-`), "a configuration of Nacos under its name; keep only the CiphertextBlob", false},
}

var pemBegins = []byte("-----BEGIN ")

var (
	percent  = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	escape   = regexp.MustCompile(`\\(u[0-9A-Fa-f]{4}|[/n"])`)
	urlSafe  = regexp.MustCompile(`^[A-Za-z0-9_=-]+$`)
	alphabet = regexp.MustCompile(`^[A-Za-z0-9+/]+=*$`)
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
	case bytes.Contains(text, []byte("\u00a0")):
		return is("a no-break space (U+00A0) is in it, which looks like a blank")
	case bytes.ContainsAny(text, "\u200b\u200c\u200d\u2060\ufeff"):
		return is("a character of no width is in it, which no editor shows")
	case !utf8.Valid(text):
		return is("not text")
	case bytes.ContainsRune(text, '\n'):
		return severalLines(text)
	case escape.Match(text):
		return is("escapes of JSON (\\u003d for =) are in it; %s", kept)
	case percent.Match(text):
		return is("URL-encoded: %%2B, %%2F and %%3D stand for +, / and =")
	case bytes.ContainsAny(text, "\"'`,;“”‘’"):
		return is("a quote or a comma that belongs to something around it; %s", kept)
	case bytes.IndexByte(bytes.TrimRight(text, "="), '=') >= 0:
		return is("a = in the middle: two blobs in a row, or a name in front")
	case spaced.Match(text) && bytes.IndexByte(text, ' ') >= 0:
		return is("blanks are in it; a form turned + into a blank, perhaps")
	case urlSafe.Match(text) && bytes.ContainsAny(text, "-_"):
		return is("base64url: - and _ stand in place of + and /")
	case alphabet.Match(text):
		return badPadding(text)
	}
	return is("not base64: a character is in it that base64 does not have")
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
		return &kms.NotCiphertext{Reason: "a private key that was never encrypted: an open key lies on the disk; encrypt it with kmsfs encrypt, remove this file, and consider the key known", Exposed: true}
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
		case bytes.HasPrefix(rest, []byte("-----BEGIN ENCRYPTED")), block != nil && strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			locked = true
		case block != nil && bytes.HasPrefix(block.Bytes, opensshMagic) && !bytes.HasPrefix(block.Bytes[len(opensshMagic):], []byte("\x00\x00\x00\x04none")):
			locked = true // its cipher has a name
		default:
			open = true
		}
		if block != nil {
			clear(block.Bytes)
		}
	}
	return open, locked
}

var (
	privateKey   = regexp.MustCompile(`-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----`)
	opensshMagic = []byte("openssh-key-v1\x00")
)

// armoured recognises base64 of what is something else already. All of that is
// text, and hardly any ciphertext is.
func armoured(raw []byte) *kms.NotCiphertext {
	for _, c := range raw {
		if c >= 0x80 || c < '\t' {
			return nil
		}
	}
	text := trimSpace(raw)
	if pem := plainPEM(text); pem != nil {
		pem.Reason = "base64 of " + pem.Reason
		return pem
	}
	if inner, ok := decodeBlob(unwrap(text)); ok && len(inner) >= minBlob && versionForm.Match(inner) {
		return &kms.NotCiphertext{Reason: "base64 of a CiphertextBlob, which is base64 already: it was encoded twice"}
	}
	return nil
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
	blobs, base64s := 0, 0
	for i, line := range lines {
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
		return &kms.NotCiphertext{Reason: fmt.Sprintf("an envelope of %d lines, as the vendor's samples write it, which this version does not read", n)}
	case blobs == 1:
		return &kms.NotCiphertext{Reason: "a CiphertextBlob with other lines beside it; a file holds one blob and nothing else"}
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
