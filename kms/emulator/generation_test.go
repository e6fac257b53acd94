package emulator_test

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms/emulator"
)

func generation3(c *emulator.Config) { c.Generation = 3 }

// The two forms of an id of generation 3, by the number of its key.
var idForms = []struct {
	key, version *regexp.Regexp
	length       int // of the version id
}{
	{regexp.MustCompile(`^key-hzz[0-9a-z]{18}$`), regexp.MustCompile(`^key-hzz[0-9a-z]{18}-[0-9a-z]{10}$`), 36},
	{regexp.MustCompile(`^key-phzz[0-9a-z]{18}$`), regexp.MustCompile(`^key-phzz[0-9a-z]{18}-[0-9a-z]{10}$`), 37},
}

// The two forms of an id take turns, every answer follows, and a blob begins
// with its version id, however long.
func TestGeneration3(t *testing.T) {
	b := start(t, t.TempDir(), generation3)
	for n := range 5 {
		form := idForms[n%2]
		m := b.metadata(b.ok("CreateKey"))
		id, version := m["KeyId"].(string), m["PrimaryKeyVersion"].(string)
		if !form.key.MatchString(id) || !form.version.MatchString(version) || !strings.HasPrefix(version, id+"-") || len(version) != form.length {
			t.Fatalf("key %d is %s, its version %s", n+1, id, version)
		}
		if arn := m["Arn"]; arn != "acs:kms:cn-hangzhou:1234567890123456:key/"+id {
			t.Errorf("arn %s", arn)
		}
		const context = `{"a":"b"}`
		sealed := b.ok("Encrypt", "KeyId", id, "Plaintext", "root", "EncryptionContext", context)
		raw, err := base64.StdEncoding.DecodeString(sealed.str("CiphertextBlob"))
		if err != nil || len(raw) != form.length+12+4+16 || !strings.HasPrefix(string(raw), version) || sealed.str("KeyVersionId") != version {
			t.Errorf("%d bytes from %.40q, %v; answer %s", len(raw), raw, err, sealed.raw)
		}
		next := b.ok("CreateKeyVersion", "KeyId", id).body["KeyVersion"].(map[string]any)["KeyVersionId"].(string)
		if !form.version.MatchString(next) || !strings.HasPrefix(next, id+"-") || next == version {
			t.Errorf("the next version is %s", next)
		}
		b.ok("DescribeKeyVersion", "KeyId", id, "KeyVersionId", version)
		b.list("ListKeyVersions", "KeyVersions", "KeyVersion", "KeyVersionId", 2, 1, 10, "KeyId", id)
		opened := b.ok("Decrypt", "CiphertextBlob", sealed.str("CiphertextBlob"), "EncryptionContext", context)
		if opened.str("Plaintext") != "root" || opened.str("KeyVersionId") != version || opened.str("KeyId") != id {
			t.Errorf("opened %s", opened.raw)
		}
		moved := b.ok("ReEncrypt", "CiphertextBlob", sealed.str("CiphertextBlob"), "SourceEncryptionContext", context, "DestinationKeyId", id)
		if moved.str("KeyVersionId") != next {
			t.Errorf("moved to %s", moved.raw)
		}
		data := b.ok("GenerateDataKey", "KeyId", id)
		if got := b.ok("Decrypt", "CiphertextBlob", data.str("CiphertextBlob")).str("Plaintext"); got != data.str("Plaintext") {
			t.Errorf("data key %q", got)
		}
		b.ok("DisableKey", "KeyId", id)
		b.refused(409, "Rejected.Disabled", "Decrypt", "CiphertextBlob", data.str("CiphertextBlob"))
	}
}

func TestPlaceInID(t *testing.T) {
	for region, want := range map[string]string{"cn-beijing": "key-bjj", "eu-central-1": "key-emu"} {
		b := start(t, t.TempDir(), generation3, func(c *emulator.Config) { c.Region = region })
		if id := b.newKey(); !strings.HasPrefix(id, want) || len(id) != 25 {
			t.Errorf("%s: %s", region, id)
		}
	}
}

// Keys of both generations live in one state file, whichever is played now.
func TestGenerationsTogether(t *testing.T) {
	dir := t.TempDir()
	type sealed struct{ id, blob string }
	var all []sealed
	for _, generation := range []int{1, 3, 1, 3} {
		b := start(t, dir, func(c *emulator.Config) { c.Generation = generation })
		for range 2 {
			id := b.newKey()
			if uuidForm.MatchString(id) != (generation == 1) {
				t.Errorf("generation %d made %s", generation, id)
			}
			b.ok("CreateAlias", "AliasName", "alias/"+id, "KeyId", id)
			all = append(all, sealed{id, ""})
		}
		for i, s := range all {
			if s.blob != "" {
				if got := b.ok("Decrypt", "CiphertextBlob", s.blob); got.str("Plaintext") != "x" || got.str("KeyId") != s.id {
					t.Errorf("generation %d: %s", generation, got.raw)
				}
			}
			b.ok("CreateKeyVersion", "KeyId", s.id)
			all[i].blob = b.ok("Encrypt", "KeyId", "alias/"+s.id, "Plaintext", "x").str("CiphertextBlob")
		}
		b.stop()
	}
}

// What a blob's head must be for its key to be looked for, and what is said
// when it names none.
func TestBlobHeads(t *testing.T) {
	b := start(t, t.TempDir(), generation3)
	long := func(n int) string { return strings.Repeat("x", n) }
	// The letter after the cut is another one than the letter that was cut.
	cut := func(id string, n int) string {
		if id[n] == 'x' {
			return id[:n] + "y" + long(59)
		}
		return id[:n] + long(60)
	}
	var versions []string
	for range 2 {
		versions = append(versions, b.primary(b.newKey()))
	}
	const invalid, notFound = "400 InvalidParameter", "404 Forbidden.KeyNotFound"
	for _, c := range []struct{ name, raw, want string }{
		{"nothing known, 64 bytes", long(64), notFound},
		{"nothing known, 63 bytes", long(63), invalid},
		{"nothing known, long", long(8000), notFound},
		{"binary", string(make([]byte, 64)), notFound},
		{"a UUID", "00000000-0000-4000-8000-000000000000" + long(28), notFound},
		{"36, no room for a tag", versions[0] + long(27), invalid},
		{"36, room", versions[0] + long(28), invalid},
		{"36, cut", cut(versions[0], 35), notFound},
		{"37, no room for a tag", versions[1] + long(27), invalid},
		{"37, room", versions[1] + long(28), invalid},
		{"37, cut to 36", cut(versions[1], 36), notFound},
		{"36 with an upper-case letter", "K" + versions[0][1:] + long(60), notFound},
	} {
		text := base64.StdEncoding.EncodeToString([]byte(c.raw))
		if r := b.call("Decrypt", "CiphertextBlob", text); fmt.Sprint(r.status, " ", r.code()) != c.want {
			t.Errorf("%s: %d %s, want %s", c.name, r.status, r.raw, c.want)
		}
	}
	whole := b.ok("Encrypt", "KeyId", b.newKey(), "Plaintext", "x").str("CiphertextBlob")
	for _, text := range []string{" " + whole, whole + "\n", whole[:40] + "\r\n" + whole[40:], "\t" + whole, strings.TrimRight(whole, "=") + "!", whole + whole} {
		b.refused(400, "InvalidParameter", "Decrypt", "CiphertextBlob", text)
	}
}
