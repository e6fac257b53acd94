package emulator_test

import (
	"encoding/base64"
	"testing"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/emulator"
)

// Ciphertext in both layouts, whichever the server makes, is opened; with any
// bit of it flipped it is refused.
func TestLayouts(t *testing.T) {
	dir := t.TempDir()
	blobs := map[kms.Layout]string{}
	for layout, name := range map[kms.Layout]string{kms.LayoutCurrent: "current", kms.LayoutNested: "2019"} {
		b := start(t, dir, func(c *emulator.Config) { c.BlobLayout = name })
		text := b.ok("Encrypt", "KeyId", b.newKey(), "Plaintext", "root+/=\n", "EncryptionContext", `{"a":"b"}`).str("CiphertextBlob")
		if blob, err := kms.ParseBlob([]byte(text)); err != nil || blob.Layout != layout || blob.PlaintextSize != 8 {
			t.Errorf("%s: made %+v, %v", name, blob, err)
		}
		k := b.ok("GenerateDataKey", "KeyId", b.newKey())
		if blob, err := kms.ParseBlob([]byte(k.str("CiphertextBlob"))); err != nil || blob.Layout != layout {
			t.Errorf("%s: data key %+v, %v", name, blob, err)
		}
		blobs[layout] = text
		b.stop()
	}
	b := start(t, dir)
	for layout, text := range blobs {
		if got := b.ok("Decrypt", "CiphertextBlob", text, "EncryptionContext", `{"a":"b"}`).str("Plaintext"); got != "root+/=\n" {
			t.Errorf("%v: got %q", layout, got)
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
				t.Fatalf("%v, bit %d: %d %s", layout, at, r.status, r.raw)
			}
		}
	}
}
