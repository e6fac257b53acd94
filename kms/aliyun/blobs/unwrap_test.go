package blobs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/kmsfs/kmsfs/kms"
)

func wrapped(text string, width int, end string) string {
	var lines []string
	for ; len(text) > width; text = text[width:] {
		lines = append(lines, text[:width])
	}
	return strings.Join(append(lines, text), end)
}

func utf16Of(text string, order binary.ByteOrder, mark bool) []byte {
	if mark {
		text = "\ufeff" + text
	}
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = append(b, 0, 0)
		order.PutUint16(b[len(b)-2:], unit)
	}
	return b
}

// What is put around a blob without changing it does no harm.
func TestRecoveredBlobs(t *testing.T) {
	for _, blob := range []string{current(1704), nested(300), blobUnder(kms3, 0xA7, 40), blobUnder(kms3Long, 0xA7, 40), blobUnder("$", 0xA7, 100)} {
		want, err := Of([]byte(blob))
		if err != nil {
			t.Fatal(err)
		}
		for name, file := range map[string]string{
			"line end":                   blob + "\n",
			"blanks":                     " \t" + blob + " \r\n\r\n",
			"UTF-8 mark":                 "\ufeff" + blob,
			"UTF-8 mark and CRLF":        "\ufeff" + blob + "\r\n",
			"double quotes":              `"` + blob + `"` + "\n",
			"single quotes":              "'" + blob + "'",
			"wrapped at 76":              wrapped(blob, 76, "\n") + "\n",
			"wrapped at 76, CRLF":        wrapped(blob, 76, "\r\n") + "\r\n",
			"wrapped at 64":              wrapped(blob, 64, "\n"),
			"wrapped at 70":              wrapped(blob, 70, "\n") + "\n",
			"wrapped at 44, in quotes":   `"` + wrapped(blob, 44, "\n") + `"`,
			"UTF-16LE":                   string(utf16Of(blob, binary.LittleEndian, true)),
			"UTF-16LE, CRLF":             string(utf16Of(blob+"\r\n", binary.LittleEndian, true)),
			"UTF-16BE, quotes":           string(utf16Of(`"`+blob+`"`, binary.BigEndian, true)),
			"UTF-16LE without a mark":    string(utf16Of(blob+"\n", binary.LittleEndian, false)),
			"UTF-16BE, wrapped, no mark": string(utf16Of(wrapped(blob, 76, "\r\n"), binary.BigEndian, false)),
		} {
			if got, err := Of([]byte(file)); err != nil || got != want {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	}
}

// Everything else is said by name, and nothing of it is repeated.
func TestReasons(t *testing.T) {
	blob := blobUnder(kms3, 0xFB, 40) // with + and / in it
	body, _ := strings.CutSuffix(blob, "=")
	pem := "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIGf0Jm2kT0S7YV3nD1H4uQ9cT5xW8bXvC2zK6rN1pEaQ\n-----END PRIVATE KEY-----\n"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := base64.StdEncoding.EncodeToString(must(x509.MarshalPKCS8PrivateKey(key)))
	envelope := blob + "\nAAAAAAAAAAAAAAAA\nMTIzNDU2Nzg5MDEyMzQ1Njc4OTA="
	for _, c := range []struct {
		name, file, says string
		exposed          bool
	}{
		{"empty", "", "empty", false},
		{"white space", " \r\n\t ", "empty", false},
		{"a mark alone", "\ufeff\n", "empty", false},
		{"JSON answer of Encrypt", `{"CiphertextBlob":"` + blob + `","KeyId":"k","RequestId":"r"}`, "jq -rj .CiphertextBlob", false},
		{"the same, indented, by PowerShell", string(utf16Of("{\r\n\t\"KeyId\": \"k\",\r\n\t\"CiphertextBlob\": \""+blob+"\"\r\n}\r\n", binary.LittleEndian, true)), "jq -rj .CiphertextBlob", false},
		{"JSON answer of GenerateDataKey", `{"CiphertextBlob":"` + blob + `","Plaintext":"c2VjcmV0"}`, "in the open", true},
		{"JSON error", `{"Code":"Forbidden.NoPermission","Message":"x","RequestId":"r"}`, "why a call failed", false},
		{"JSON", `["` + blob + `"]`, "JSON", false},
		{"SOPS", `{"data":"ENC[AES256_GCM,data:x]","sops":{"version":"3"}}`, "SOPS", false},
		{"quote and comma", `"` + blob + `",`, "a quote or a comma", false},
		{"one quote", blob + `"`, "a quote or a comma", false},
		{"two pairs", `"'` + blob + `'"`, "a quote or a comma", false},
		{"YAML", "CiphertextBlob: " + blob + "\n", "YAML", false},
		{"table", "CiphertextBlob\n--------------\n" + blob + "\n", "a table", false},
		{"null", "null\n", "a word", false},
		{"error of the old command", "ERROR: SDK.ServerError\nErrorCode: Forbidden.KeyNotFound\nRequestId: r\n", "an error message", false},
		{"HTML", "<!DOCTYPE html>\n<html><body>502</body></html>", "HTML", false},
		{"XML answer", `<?xml version="1.0"?><KMS><CiphertextBlob>` + blob + `</CiphertextBlob></KMS>`, "XML answer", false},
		{"XML", "<Error><Code>x</Code></Error>", "XML", false},
		{"git-lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git-lfs", false},
		{"age", "age-encryption.org/v1\n-> X25519 x\n", "an age file", false},
		{"armoured age", "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n", "an age file", false},
		{"PGP", "-----BEGIN PGP MESSAGE-----\n\nx\n", "PGP", false},
		{"a key", pem, "never encrypted: an open key lies on the disk", true},
		{"an RSA key", strings.ReplaceAll(pem, "PRIVATE", "RSA PRIVATE"), "an open key lies on the disk", true},
		{"a key behind its certificate", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n" + pem, "an open key lies on the disk", true},
		{"a key, by Notepad", "\ufeff" + strings.ReplaceAll(pem, "\n", "\r\n"), "an open key lies on the disk", true},
		{"a key in base64", base64.StdEncoding.EncodeToString([]byte(pem)), "base64 of a private key that was never encrypted", true},
		{"a key under a passphrase", strings.ReplaceAll(pem, "PRIVATE", "ENCRYPTED PRIVATE"), "a passphrase", false},
		{"a key under a passphrase, and an open one", strings.ReplaceAll(pem, "PRIVATE", "ENCRYPTED PRIVATE") + pem, "an open key lies on the disk", true},
		{"a key of ssh", openssh("none"), "an open key lies on the disk", true},
		{"a key of ssh under a passphrase", openssh("aes256-ctr"), "a passphrase", false},
		{"a key that is cut", pem[:40], "an open key lies on the disk", true},
		{"a certificate", "-----BEGIN CERTIFICATE-----\nx\n", "a PEM that was never encrypted", false},
		{"envelope, 3 lines", envelope, "an envelope of 3 lines", false},
		{"envelope, 4 lines, CRLF", strings.ReplaceAll(envelope, "\n", "\r\n") + "\r\nMTIzNDU2Nzg5MDEyMzQ1Ng==\r\n", "an envelope of 4 lines", false},
		{"two blobs", blob + "\n" + blob + "\n", "2 blobs", false},
		{"two blobs, whole groups of three bytes", current(41) + "\n" + current(41), "2 blobs", false},
		{"two blobs without a line end", blob + blob, "in the middle", false},
		{"two blobs without a line end or padding", current(41) + current(41), "two blobs in a row", false},
		{"the same of a longer id", blobUnder(kms3Long, 0xA7, 40) + blobUnder(kms3Long, 0xA7, 41), "two blobs in a row", false},
		{"a heredoc's end", current(41) + "\nEOF\n", "other lines beside it", false},
		{"a word that is base64", current(41) + "\nDONE\n", "other lines beside it", false},
		{"blanks at line ends", wrapped(current(300), 76, " \n"), "blanks at the ends", false},
		{"CR alone", wrapped(blob, 76, "\r"), "CR alone", false},
		{"a colour", "\x1b[0m" + blob + "\x1b[0m", "escape sequence", false},
		{"angle quotes", "«" + blob + "»", "a quote or a comma", false},
		{"not ASCII", blob + "\u3000x", "not ASCII", false},
		{"a Python dict", "{'CiphertextBlob': '" + blob + "'}", "JSON", false},
		{"a map of Go", "map[CiphertextBlob:" + blob + "]", "around a CiphertextBlob", false},
		{"a table with another column first", "KeyId | CiphertextBlob\n-----\nk | " + blob, "around a CiphertextBlob", false},
		{"command not found", "bash: aliyun: command not found\n", "error message", false},
		{"curl", "curl: (7) Failed to connect\n", "error message", false},
		{"a conflict", "<<<<<<< HEAD\n" + blob + "\n=======\n", "a conflict", false},
		{"nil", "<nil>", "a word", false},
		{"gzip", "\x1f\x8b\x08\x00\x00\x00", "gzip", false},
		{"zip", "PK\x03\x04\x00", "a zip archive", false},
		{"openssl enc", base64.StdEncoding.EncodeToString([]byte("Salted__" + strings.Repeat("\xA7", 80))), "base64 of a file of openssl enc", false},
		{"AWS", base64.StdEncoding.EncodeToString([]byte("\x01\x02\x02\x00" + strings.Repeat("\xA7", 80))), "base64 of a ciphertext of AWS", false},
		{"a key in DER", string(must(base64.StdEncoding.DecodeString(der))), "private key in DER", true},
		{"a key without its frame", der, "base64 of a private key in DER", true},
		{"base64 of the answer", base64.StdEncoding.EncodeToString([]byte(`{"CiphertextBlob":"` + blob + `"}`)), "base64 of a whole JSON answer", false},
		{"base64 of a longer id", base64.StdEncoding.EncodeToString([]byte(blobUnder(kms3Long, 0xA7, 40))), "encoded twice", false},
		{"a key of age", "# created: x\nAGE-SECRET-KEY-1QQQQ\n", "an open key lies on the disk", true},
		{"a key of PuTTY", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "an open key lies on the disk", true},
		{"a comment", "# the key of the shop\n" + blob, "other lines beside it", false},
		{"lines of other lengths", blob[:10] + "\n" + blob[10:], "equally long", false},
		{"encoded twice", base64.StdEncoding.EncodeToString([]byte(blob)), "encoded twice", false},
		{"decoded", string(must(base64.StdEncoding.DecodeString(blob))), "the bytes of a CiphertextBlob", false},
		{"base64url", strings.NewReplacer("+", "-", "/", "_").Replace(blob), "base64url", false},
		{"URL-encoded", url.QueryEscape(blob), "URL-encoded", false},
		{"JSON escapes", strings.ReplaceAll(blob, "=", `\u003d`), "escapes of JSON", false},
		{"+ became a blank", strings.ReplaceAll(blob, "+", " "), "blanks", false},
		{"padding lost", body, "copied whole", false},
		{"last character lost", strings.TrimRight(blob, "=")[:len(strings.TrimRight(blob, "="))-1], "", false},
		{"NUL", blob + "\x00", "NUL", false},
		{"no-break space", blob + "\u00a0", "no-break space", false},
		{"zero width", blob[:20] + "\u200b" + blob[20:], "no width", false},
		{"UTF-16 of Chinese", string(utf16Of("密码"+blob, binary.LittleEndian, true)), "UTF-16", false},
		{"noise", "\x80\x81\x82\x83", "not text", false},
		{"a password", "hunter2!", "not base64", false},
		{"a short text", "cm9vdA==", "too short", false},
		{"more than a blob", base64.StdEncoding.EncodeToString(make([]byte, 15_000)), "longer than a ciphertext can be", false},
		{"more than a blob, no base64", strings.Repeat("secret! ", 3000), "longer than a ciphertext can be", false},
		{"long", strings.Repeat("A", kms.MaxBlobFile+1), "longer than 65536 bytes", false},
	} {
		b, not := Of([]byte(c.file))
		if not == nil {
			t.Errorf("%s: %+v", c.name, b)
			continue
		}
		if !strings.Contains(not.Reason, c.says) || not.Exposed != c.exposed || !strings.HasPrefix(not.Error(), "not a ciphertext: ") {
			t.Errorf("%s: %q, exposed %v", c.name, not.Reason, not.Exposed)
		}
		for _, secret := range []string{blob[:20], "MC4CAQ", "hunter2", "Forbidden", "c2VjcmV0"} {
			if strings.Contains(not.Error(), secret) {
				t.Errorf("%s: it is quoted: %v", c.name, not)
			}
		}
	}
}

// openssh is the beginning of a key as ssh-keygen writes it.
func openssh(cipher string) string {
	b := append([]byte("openssh-key-v1\x00\x00\x00\x00"), byte(len(cipher)))
	b = append(append(b, cipher...), make([]byte, 40)...)
	return "-----BEGIN OPENSSH PRIVATE KEY-----\n" + base64.StdEncoding.EncodeToString(b) + "\n-----END OPENSSH PRIVATE KEY-----\n"
}

// A good blob costs no diagnosis, and nothing in a file makes one slow.
func BenchmarkRecognise(b *testing.B) {
	for name, file := range map[string]string{
		"good, 1.7 KB": blobUnder(kms3, 0xA7, 1704), "good, 6 KB": blobUnder(kms3, 0xA7, kms.MaxPlaintext), "wrapped": wrapped(current(kms.MaxPlaintext), 76, "\n"),
		"brace": "{" + strings.Repeat("a", 65_000), "error": "error errorcode" + strings.Repeat("d", 65_000), "dashes": strings.Repeat("-----BEGIN ", 5_900),
		"keys": strings.Repeat("-----BEGIN PRIVATE KEY-----\n", 2_300), "lines": strings.Repeat("AAAA\nA\n", 9_000), "blanks": strings.Repeat("a ", 32_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				Of([]byte(file))
			}
		})
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
