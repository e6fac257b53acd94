package emulator_test

import (
	"fmt"
	"testing"
)

// A context that is spread over parameters is refused and named, rather than
// ignored: what is sealed then would open without it.
func TestFlatContext(t *testing.T) {
	b := start(t, t.TempDir())
	id := b.newKey()
	blob := b.seal(id)
	for _, of := range []string{"EncryptionContext", "SourceEncryptionContext", "DestinationEncryptionContext"} {
		for _, pair := range []string{"app", "1.key", "", "a b", "密"} {
			name := of + "." + pair
			for _, c := range cryptography(id, blob) {
				r := b.call(c[0], append(c[1:], name, "x")...)
				want := fmt.Sprintf("The specified parameter %q is not valid.", name)
				if r.status != 400 || r.code() != "InvalidParameter" || r.str("Message") != want {
					t.Errorf("%s with %s: %d %s", c[0], name, r.status, r.raw)
				}
			}
		}
	}
	// One in JSON beside it does not help; another name is anybody's.
	b.refused(400, "InvalidParameter", "Encrypt", "KeyId", id, "Plaintext", "x", "EncryptionContext", `{"app":"x"}`, "EncryptionContext.app", "x")
	b.ok("Encrypt", "KeyId", id, "Plaintext", "x", "EncryptionContexts.app", "x", "Context.a", "x", "encryptionContext.a", "x")
	b.ok("DescribeKey", "KeyId", id, "EncryptionContext.app", "x")
}
