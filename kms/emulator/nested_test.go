package emulator_test

import (
	"encoding/base64"
	"testing"

	"github.com/kmsfs/kmsfs/kms/emulator"
)

// layoutOf is a client's own reading of a blob: its layout and the size of its
// plaintext.
func layoutOf(t *testing.T, text string) (layout string, size int) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !uuidForm.Match(raw[:36]) {
		t.Fatalf("%.36q, %v", raw, err)
	}
	if inner, err := base64.StdEncoding.DecodeString(string(raw[36:])); err == nil {
		return "2019", len(inner) - 24 - 8 - 16
	}
	return "current", len(raw) - 36 - 12 - 16
}

// Ciphertext in both layouts, whichever the server makes, is opened; with any
// bit of it flipped it is refused.
func TestLayouts(t *testing.T) {
	dir := t.TempDir()
	blobs := map[string]string{}
	for _, name := range []string{"current", "2019"} {
		b := start(t, dir, func(c *emulator.Config) { c.BlobLayout = name })
		text := b.ok("Encrypt", "KeyId", b.newKey(), "Plaintext", "root+/=\n", "EncryptionContext", `{"a":"b"}`).str("CiphertextBlob")
		if layout, size := layoutOf(t, text); layout != name || size != 8 {
			t.Errorf("%s: made %s of %d", name, layout, size)
		}
		k := b.ok("GenerateDataKey", "KeyId", b.newKey())
		if layout, size := layoutOf(t, k.str("CiphertextBlob")); layout != name || size != 44 {
			t.Errorf("%s: made a data key %s of %d", name, layout, size)
		}
		blobs[name] = text
		b.stop()
	}
	b := start(t, dir)
	for layout, text := range blobs {
		if got := b.ok("Decrypt", "CiphertextBlob", text, "EncryptionContext", `{"a":"b"}`).str("Plaintext"); got != "root+/=\n" {
			t.Errorf("%s: got %q", layout, got)
		}
		b.refused(400, "InvalidParameter", "Decrypt", "CiphertextBlob", text)
		b.refused(400, "InvalidParameter", "Decrypt", "CiphertextBlob", text, "EncryptionContext", `{"a":"c"}`)
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		for at := range len(raw) * 8 {
			c := append([]byte(nil), raw...)
			c[at/8] ^= 1 << (at % 8)
			// A bit of the version id names another version, if any.
			if r := b.call("Decrypt", "CiphertextBlob", base64.StdEncoding.EncodeToString(c), "EncryptionContext", `{"a":"b"}`); !(r.status == 400 && r.code() == "InvalidParameter" ||
				at < 36*8 && r.status == 404 && r.code() == "Forbidden.KeyNotFound") {
				t.Fatalf("%s, bit %d: %d %s", layout, at, r.status, r.raw)
			}
		}
	}
}
