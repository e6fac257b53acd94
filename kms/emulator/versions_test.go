package emulator_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// primary returns the version that a key encrypts with.
func (b *bench) primary(id string) string {
	b.t.Helper()
	return b.metadata(b.ok("DescribeKey", "KeyId", id))["PrimaryKeyVersion"].(string)
}

func TestKeyVersions(t *testing.T) {
	b := start(t, t.TempDir())
	id := b.newKey()
	b.ok("CreateAlias", "AliasName", "alias/v", "KeyId", id)
	versions, blobs := []string{b.primary(id)}, []string{}
	for i := range 12 {
		e := b.ok("Encrypt", "KeyId", id, "Plaintext", fmt.Sprint(i))
		if got := e.str("KeyVersionId"); got != versions[i] || b.primary(id) != got {
			t.Errorf("%d: encrypted with %s, want %s", i, got, versions[i])
		}
		blobs = append(blobs, e.str("CiphertextBlob"))
		made := b.ok("CreateKeyVersion", "KeyId", "alias/v").body["KeyVersion"].(map[string]any)
		version := made["KeyVersionId"].(string)
		if made["KeyId"] != id || slices.Contains(versions, version) || len(made) != 3 {
			t.Errorf("made %v", made)
		}
		described := b.ok("DescribeKeyVersion", "KeyId", id, "KeyVersionId", version).body["KeyVersion"]
		if d := cmp.Diff(made, described); d != "" {
			t.Errorf("DescribeKeyVersion (-made +got):\n%s", d)
		}
		versions = append(versions, version)
	}
	// Every older version goes on decrypting.
	for i, blob := range blobs {
		d := b.ok("Decrypt", "CiphertextBlob", blob)
		if d.str("Plaintext") != fmt.Sprint(i) || d.str("KeyVersionId") != versions[i] || d.str("KeyId") != id {
			t.Errorf("%d: %s", i, d.raw)
		}
	}
	newest := slices.Clone(versions)
	slices.Reverse(newest)
	for _, c := range []struct {
		got, want []string
	}{
		{b.list("ListKeyVersions", "KeyVersions", "KeyVersion", "KeyVersionId", 13, 1, 10, "KeyId", id), newest[:10]},
		{b.list("ListKeyVersions", "KeyVersions", "KeyVersion", "KeyVersionId", 13, 3, 5, "KeyId", "alias/v", "PageNumber", "3", "PageSize", "5"), newest[10:]},
		{b.list("ListKeyVersions", "KeyVersions", "KeyVersion", "KeyVersionId", 13, 4, 5, "KeyId", id, "PageNumber", "4", "PageSize", "5"), nil},
	} {
		if d := cmp.Diff(c.want, c.got); d != "" {
			t.Errorf("ListKeyVersions (-want +got):\n%s", d)
		}
	}
	b.refused(404, "Forbidden.KeyVersionNotFound", "DescribeKeyVersion", "KeyId", id, "KeyVersionId", b.primary(b.newKey()))
	b.refused(404, "Forbidden.KeyNotFound", "DescribeKeyVersion", "KeyId", versions[0], "KeyVersionId", versions[0])
	b.refused(400, "MissingParameter", "DescribeKeyVersion", "KeyId", id)
	b.refused(400, "Unsupported.Alias", "DescribeKeyVersion", "KeyId", "alias/v", "KeyVersionId", versions[0])
	b.refused(400, "InvalidParameter", "ListKeyVersions", "KeyId", id, "PageSize", "0")
	for range 50 - len(versions) {
		b.ok("CreateKeyVersion", "KeyId", id)
	}
	b.refused(400, "Rejected.LimitExceeded", "CreateKeyVersion", "KeyId", id)

	b.ok("DisableKey", "KeyId", id)
	b.refused(409, "Rejected.Disabled", "CreateKeyVersion", "KeyId", id)
	b.refused(409, "Rejected.Disabled", "Decrypt", "CiphertextBlob", blobs[0])
	b.ok("DescribeKeyVersion", "KeyId", id, "KeyVersionId", versions[0])
	b.ok("ListKeyVersions", "KeyId", id)

	// And after a restart.
	b.ok("EnableKey", "KeyId", id)
	b.stop()
	b = start(t, b.dir)
	if got := b.ok("Decrypt", "CiphertextBlob", blobs[0]).str("Plaintext"); got != "0" {
		t.Errorf("after a restart: %q", got)
	}
}

func TestReEncrypt(t *testing.T) {
	b := start(t, t.TempDir())
	from, to := b.newKey(), b.newKey()
	b.ok("CreateAlias", "AliasName", "alias/to", "KeyId", to)
	const text = "a+b/c=\r\n密"
	blob := b.ok("Encrypt", "KeyId", from, "Plaintext", text, "EncryptionContext", `{"a":"1"}`).str("CiphertextBlob")
	r := b.ok("ReEncrypt", "CiphertextBlob", blob, "SourceEncryptionContext", `{"a":"1"}`,
		"DestinationKeyId", "alias/to", "DestinationEncryptionContext", `{"b":"2"}`)
	if _, there := r.body["Plaintext"]; r.str("KeyId") != to || r.str("KeyVersionId") != b.primary(to) || there {
		t.Errorf("got %s", r.raw)
	}
	moved := r.str("CiphertextBlob")
	if got := b.ok("Decrypt", "CiphertextBlob", moved, "EncryptionContext", `{"b":"2"}`); got.str("Plaintext") != text || got.str("KeyId") != to {
		t.Errorf("got %s", got.raw)
	}
	b.refused(400, "InvalidParameter", "Decrypt", "CiphertextBlob", moved, "EncryptionContext", `{"a":"1"}`)
	// The newest version of the same key.
	b.ok("CreateKeyVersion", "KeyId", to)
	r = b.ok("ReEncrypt", "CiphertextBlob", moved, "SourceEncryptionContext", `{"b":"2"}`, "DestinationKeyId", to)
	if got := b.ok("Decrypt", "CiphertextBlob", r.str("CiphertextBlob")); got.str("Plaintext") != text || got.str("KeyVersionId") != b.primary(to) {
		t.Errorf("got %s", got.raw)
	}

	b.refused(400, "InvalidParameter", "ReEncrypt", "CiphertextBlob", blob, "DestinationKeyId", to)
	b.refused(400, "InvalidParameter", "ReEncrypt", "CiphertextBlob", blob, "EncryptionContext", `{"a":"1"}`, "DestinationKeyId", to)
	b.refused(400, "MissingParameter", "ReEncrypt", "CiphertextBlob", blob, "SourceEncryptionContext", `{"a":"1"}`)
	b.refused(400, "MissingParameter", "ReEncrypt", "DestinationKeyId", to)
	b.refused(400, "DryRunOperationError", "ReEncrypt", "CiphertextBlob", blob, "SourceEncryptionContext", `{"a":"1"}`, "DestinationKeyId", to, "DryRun", "true")
	b.refused(404, "Forbidden.AliasNotFound", "ReEncrypt", "CiphertextBlob", blob, "SourceEncryptionContext", `{"a":"1"}`, "DestinationKeyId", "alias/none")
	for _, off := range []string{from, to} {
		b.ok("DisableKey", "KeyId", off)
		b.refused(409, "Rejected.Disabled", "ReEncrypt", "CiphertextBlob", blob, "SourceEncryptionContext", `{"a":"1"}`, "DestinationKeyId", to)
		b.ok("EnableKey", "KeyId", off)
	}
}

func TestDataKeyWithoutPlaintext(t *testing.T) {
	b := start(t, t.TempDir())
	id := b.newKey()
	r := b.ok("GenerateDataKeyWithoutPlaintext", "KeyId", id, "NumberOfBytes", "24")
	if _, there := r.body["Plaintext"]; there || r.str("KeyId") != id {
		t.Errorf("got %s", r.raw)
	}
	if got := b.ok("Decrypt", "CiphertextBlob", r.str("CiphertextBlob")).str("Plaintext"); len(got) != 32 {
		t.Errorf("got %d characters of base64", len(got))
	}
	b.refused(400, "InvalidParameter", "GenerateDataKeyWithoutPlaintext", "KeyId", id, "NumberOfBytes", "1025")
}
