package emulator_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kmsfs/kmsfs/kms"
	"pgregory.net/rapid"
)

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func TestKeyMetadata(t *testing.T) {
	b := start(t, t.TempDir())
	made := b.metadata(b.ok("CreateKey", "Description", "for <tests> & 密", "ProtectionLevel", "HSM"))
	for name, v := range made {
		if _, ok := v.(string); !ok {
			t.Errorf("%s is a %T", name, v)
		}
	}
	id, version := made["KeyId"].(string), made["PrimaryKeyVersion"].(string)
	if !uuidForm.MatchString(id) || !uuidForm.MatchString(version) || id == version {
		t.Errorf("ids %q, %q", id, version)
	}
	if _, err := time.Parse("2006-01-02T15:04:05Z", made["CreationDate"].(string)); err != nil {
		t.Error(err)
	}
	want := map[string]any{
		"KeyId": id, "Arn": "acs:kms:cn-hangzhou:1234567890123456:key/" + id, "KeyState": "Enabled",
		"KeyUsage": "ENCRYPT/DECRYPT", "KeySpec": "Aliyun_AES_256", "Origin": "Aliyun_KMS", "ProtectionLevel": "HSM",
		"Creator": "1234567890123456", "CreationDate": made["CreationDate"], "DeleteDate": "",
		"Description": "for <tests> & 密", "MaterialExpireTime": "", "PrimaryKeyVersion": version,
		"LastRotationDate": made["CreationDate"], "AutomaticRotation": "Disabled",
	}
	if d := cmp.Diff(want, made); d != "" {
		t.Errorf("CreateKey (-want +got):\n%s", d)
	}
	want["DeletionProtection"] = "Disabled"
	b.ok("CreateAlias", "AliasName", "alias/x/y", "KeyId", id)
	for _, name := range []string{id, want["Arn"].(string), "alias/x/y", "acs:kms:cn-hangzhou:1234567890123456:alias/x/y"} {
		if d := cmp.Diff(want, b.metadata(b.ok("DescribeKey", "KeyId", name))); d != "" {
			t.Errorf("DescribeKey %s (-want +got):\n%s", name, d)
		}
	}
}

// list returns the members of a list and checks its counts.
func (b *bench) list(action, outer, inner, member string, total, number, size int, pairs ...string) []string {
	b.t.Helper()
	r := b.ok(action, pairs...)
	got := fmt.Sprint(r.body["TotalCount"], r.body["PageNumber"], r.body["PageSize"])
	if want := fmt.Sprint(float64(total), float64(number), float64(size)); got != want {
		b.t.Errorf("%s %q: counts %s, want %s", action, pairs, got, want)
	}
	var out []string
	for _, x := range r.body[outer].(map[string]any)[inner].([]any) {
		out = append(out, x.(map[string]any)[member].(string))
	}
	return out
}

func TestLists(t *testing.T) {
	b := start(t, t.TempDir())
	keys := func(total, number, size int, pairs ...string) []string {
		t.Helper()
		return b.list("ListKeys", "Keys", "Key", "KeyId", total, number, size, pairs...)
	}
	if got := keys(0, 1, 10); got != nil {
		t.Errorf("%q before the first", got)
	}
	var ids []string
	for range 12 {
		ids = append(ids, b.newKey())
	}
	b.ok("DisableKey", "KeyId", ids[3])
	for _, c := range []struct {
		got  []string
		want []string
	}{
		{keys(12, 1, 10), ids[:10]},
		{keys(12, 2, 10, "PageNumber", "2"), ids[10:]},
		{keys(12, 3, 10, "PageNumber", "3"), nil},
		{keys(12, 4, 3, "PageNumber", "4", "PageSize", "3"), ids[9:]},
		{keys(12, 2147483647, 100, "PageNumber", "2147483647", "PageSize", "100"), nil},
		{keys(1, 1, 10, "Filters", `[{"Key":"KeyState","Values":["Disabled"]}]`), ids[3:4]},
		{keys(12, 1, 100, "PageSize", "100", "Filters", `[{"Key":"KeyState","Values":["Disabled","Enabled"]},{"Key":"KeySpec","Values":["Aliyun_AES_256"]}]`), ids},
		{keys(0, 1, 10, "Filters", `[{"Key":"KeyState","Values":["Disabled"]},{"Key":"CreatorType","Values":["Service"]}]`), nil},
	} {
		if d := cmp.Diff(c.want, c.got); d != "" {
			t.Errorf("ListKeys (-want +got):\n%s", d)
		}
	}
	aliases := func(total, number, size int, pairs ...string) []string {
		t.Helper()
		return b.list("ListAliases", "Aliases", "Alias", "AliasName", total, number, size, pairs...)
	}
	b.ok("CreateAlias", "AliasName", "alias/b", "KeyId", ids[0])
	b.ok("CreateAlias", "AliasName", "alias/a", "KeyId", ids[0])
	if d := cmp.Diff([]string{"alias/a", "alias/b"}, aliases(2, 1, 10)); d != "" {
		t.Errorf("ListAliases (-want +got):\n%s", d)
	}
	if got := aliases(2, 1, 0, "PageSize", "0"); got != nil {
		t.Errorf("%q on a page of none", got)
	}
	for _, bad := range []string{"0", "-1", "x", "101", "1e1", "99999999999999999999"} {
		b.refused(400, "InvalidParameter", "ListKeys", "PageSize", bad)
	}
	b.refused(400, "InvalidParameter", "ListKeys", "PageNumber", "0")
	b.refused(400, "InvalidParameter", "ListAliases", "PageSize", "101")
	b.refused(400, "InvalidParameter", "ListKeys", "Filters", `[{"Key":"Colour","Values":["red"]}]`)
	b.refused(400, "InvalidParameter", "ListKeys", "Filters", `{`)
}

func TestKeyStates(t *testing.T) {
	b := start(t, t.TempDir())
	id := b.newKey()
	blob := b.ok("Encrypt", "KeyId", id, "Plaintext", "x").str("CiphertextBlob")
	unusable := func(code string) {
		t.Helper()
		b.refused(409, code, "Encrypt", "KeyId", id, "Plaintext", "x")
		b.refused(409, code, "GenerateDataKey", "KeyId", id)
		b.refused(409, code, "Decrypt", "CiphertextBlob", blob)
	}
	state := func(want string) map[string]any {
		t.Helper()
		m := b.metadata(b.ok("DescribeKey", "KeyId", id))
		if m["KeyState"] != want {
			t.Errorf("state %v, want %s", m["KeyState"], want)
		}
		return m
	}
	b.ok("EnableKey", "KeyId", id)
	b.ok("DisableKey", "KeyId", id)
	b.ok("DisableKey", "KeyId", id)
	state("Disabled")
	unusable("Rejected.Disabled")
	b.ok("CreateAlias", "AliasName", "alias/k", "KeyId", id)
	b.refused(409, "Rejected.StateModifiedFailed", "CancelKeyDeletion", "KeyId", id)

	for _, days := range []string{"6", "367", "0", "-7", "x", "7.5"} {
		b.refused(400, "InvalidParameter", "ScheduleKeyDeletion", "KeyId", id, "PendingWindowInDays", days)
	}
	b.refused(400, "MissingParameter", "ScheduleKeyDeletion", "KeyId", id)
	b.ok("ScheduleKeyDeletion", "KeyId", id, "PendingWindowInDays", "7")
	deleted, err := time.Parse("2006-01-02T15:04:05Z", state("PendingDeletion")["DeleteDate"].(string))
	if until := time.Until(deleted); err != nil || until < 7*24*time.Hour-time.Minute || until > 7*24*time.Hour {
		t.Errorf("deletion in %v, %v", until, err)
	}
	unusable("Rejected.PendingDeletion")
	b.refused(409, "Rejected.StateModifiedFailed", "ScheduleKeyDeletion", "KeyId", id, "PendingWindowInDays", "8")
	b.refused(409, "Rejected.StateModifiedFailed", "EnableKey", "KeyId", id)
	b.refused(409, "Rejected.StateModifiedFailed", "DisableKey", "KeyId", id)
	b.refused(409, "Rejected.StateModifiedFailed", "CreateAlias", "AliasName", "alias/l", "KeyId", id)
	b.refused(409, "Rejected.PendingDeletion", "UpdateAlias", "AliasName", "alias/k", "KeyId", id)
	b.ok("CancelKeyDeletion", "KeyId", id)
	if m := state("Enabled"); m["DeleteDate"] != "" {
		t.Errorf("still to be deleted: %v", m)
	}
	if got := b.ok("Decrypt", "CiphertextBlob", blob).str("Plaintext"); got != "x" {
		t.Errorf("got %q", got)
	}
}

func TestAliases(t *testing.T) {
	b := start(t, t.TempDir())
	one, two := b.newKey(), b.newKey()
	b.ok("CreateAlias", "AliasName", "alias/a", "KeyId", one)
	b.refused(400, "AliasAlreadyExists", "CreateAlias", "AliasName", "alias/a", "KeyId", two)
	encryptedBy := func() string {
		return b.ok("Encrypt", "KeyId", "alias/a", "Plaintext", "x").str("KeyId")
	}
	if got := encryptedBy(); got != one {
		t.Errorf("alias names %s, want %s", got, one)
	}
	b.ok("UpdateAlias", "AliasName", "alias/a", "KeyId", two)
	if got := encryptedBy(); got != two {
		t.Errorf("alias names %s, want %s", got, two)
	}
	b.ok("DeleteAlias", "AliasName", "alias/a")
	for _, action := range []string{"DeleteAlias", "UpdateAlias"} {
		b.refused(404, "Forbidden.AliasNotFound", action, "AliasName", "alias/a", "KeyId", one)
	}
	b.refused(404, "Forbidden.AliasNotFound", "Encrypt", "KeyId", "alias/a", "Plaintext", "x")
	b.refused(404, "Forbidden.KeyNotFound", "CreateAlias", "AliasName", "alias/a", "KeyId", "no-such-key")
	b.refused(400, "Unsupported.Alias", "DisableKey", "KeyId", "alias/a")
	b.refused(400, "MissingParameter", "CreateAlias", "KeyId", one)
	b.refused(400, "MissingParameter", "CreateAlias", "AliasName", "alias/a")
	for _, bad := range []string{"a", "alias/", "alias/acs/kms", "alias/a b", "alias/" + strings.Repeat("x", 256)} {
		b.refused(400, "InvalidParameter", "CreateAlias", "AliasName", bad, "KeyId", one)
	}
	b.ok("CreateAlias", "AliasName", "alias/"+strings.Repeat("x", 255), "KeyId", one)
}

func TestCiphertext(t *testing.T) {
	b := start(t, t.TempDir())
	made := b.metadata(b.ok("CreateKey"))
	id, version := made["KeyId"].(string), made["PrimaryKeyVersion"].(string)
	for name, text := range map[string]string{
		"short": "root", "empty": "", "base64": "cm9vdA==", "pem": "-----BEGIN X-----\r\nAA+/==\n", "nul": "a\x00b",
		"unicode": "密钥 😀 \u2028<&>\"\\", "longest": strings.Repeat("x", kms.MaxPlaintext), "wide": strings.Repeat("密", kms.MaxPlaintext/3),
	} {
		e := b.ok("Encrypt", "KeyId", id, "Plaintext", text)
		blob := e.str("CiphertextBlob")
		if raw, err := base64.StdEncoding.DecodeString(blob); err != nil || len(raw) != 36+12+len(text)+16 || !strings.HasPrefix(string(raw), version) {
			t.Errorf("%s: %d bytes from %.36q, %v", name, len(raw), raw, err)
		}
		d := b.ok("Decrypt", "CiphertextBlob", blob)
		if d.str("Plaintext") != text {
			t.Errorf("%s: got %.40q", name, d.str("Plaintext"))
		}
		for _, r := range []result{e, d} {
			if r.str("KeyId") != id || r.str("KeyVersionId") != version || !uuidForm.MatchString(r.str("RequestId")) {
				t.Errorf("%s: %s", name, r.raw)
			}
		}
	}
	b.refused(400, "InvalidParameter", "Encrypt", "KeyId", id, "Plaintext", strings.Repeat("x", kms.MaxPlaintext+1))
	b.refused(400, "MissingParameter", "Encrypt", "KeyId", id)
	b.refused(400, "MissingParameter", "Encrypt", "Plaintext", "x")
	b.refused(400, "MissingParameter", "Decrypt")
	b.refused(404, "Forbidden.KeyNotFound", "Encrypt", "KeyId", "00000000-0000-4000-8000-000000000000", "Plaintext", "x")
	b.refused(404, "Forbidden.KeyNotFound", "Encrypt", "KeyId", "acs:kms:cn-beijing:1234567890123456:key/"+id, "Plaintext", "x")
	b.refused(400, "DryRunOperationError", "Encrypt", "KeyId", id, "Plaintext", "x", "DryRun", "true")
	b.refused(404, "Forbidden.AliasNotFound", "Encrypt", "KeyId", "alias/none", "Plaintext", "x", "DryRun", "true")

	good := b.ok("Encrypt", "KeyId", id, "Plaintext", "hello").str("CiphertextBlob")
	raw, _ := base64.StdEncoding.DecodeString(good)
	spoil := func(at int) string {
		c := append([]byte(nil), raw...)
		c[at] ^= 1
		return base64.StdEncoding.EncodeToString(c)
	}
	for _, bad := range []string{"x", "\"", good + "\n", " " + good, good[:20], spoil(40), spoil(50), spoil(len(raw) - 1),
		base64.StdEncoding.EncodeToString(raw[:50])} {
		b.refused(400, "InvalidParameter", "Decrypt", "CiphertextBlob", bad)
	}
	b.refused(404, "Forbidden.KeyNotFound", "Decrypt", "CiphertextBlob", spoil(14)) // a UUID still: its 4 becomes a 5
	// One that the real service made, of a key that is not ours.
	b.refused(404, "Forbidden.KeyNotFound", "Decrypt", "CiphertextBlob",
		"ZWZiOTMxMDMtOTUyNi00OGUxLWI5MzEtOTYxZjU0OGUwMWU0T3BDf6PdXvJIHzMKCIxYKr7N3PngT2aS07Rk7TiFx4Me+u0QIMk=")
}

func TestEncryptionContext(t *testing.T) {
	b := start(t, t.TempDir())
	id := b.newKey()
	sealed := func(pairs ...string) string {
		return b.ok("Encrypt", append([]string{"KeyId", id, "Plaintext", "x"}, pairs...)...).str("CiphertextBlob")
	}
	with, without := sealed("EncryptionContext", `{"b":"2","a":"1"}`), sealed()
	b.ok("Decrypt", "CiphertextBlob", with, "EncryptionContext", ` { "a" : "1", "b" : "2" } `)
	b.ok("Decrypt", "CiphertextBlob", without, "EncryptionContext", `{}`)
	b.ok("Decrypt", "CiphertextBlob", without, "EncryptionContext", ``)
	for _, other := range []string{``, `{}`, `{"a":"1"}`, `{"a":"1","b":"3"}`, `{"a":"2","b":"1"}`} {
		b.refused(400, "InvalidParameter", "Decrypt", "CiphertextBlob", with, "EncryptionContext", other)
	}
	b.refused(400, "InvalidParameter", "Decrypt", "CiphertextBlob", without, "EncryptionContext", `{"a":"1"}`)
	for _, bad := range []string{`x`, `null`, `[]`, `"a"`, `{"a":1}`, `{"a":null}`, `{"a":["b"]}`, `{"a":"b"}x`, `{"a":"` + strings.Repeat("x", 8192) + `"}`} {
		b.refused(400, "InvalidParameter", "Encrypt", "KeyId", id, "Plaintext", "x", "EncryptionContext", bad)
	}
}

func TestGenerateDataKey(t *testing.T) {
	b := start(t, t.TempDir())
	id := b.newKey()
	for _, c := range []struct {
		size  int
		pairs []string
	}{
		{32, nil}, {32, []string{"KeySpec", "AES_256"}}, {16, []string{"KeySpec", "AES_128"}},
		{1, []string{"NumberOfBytes", "1"}}, {1024, []string{"KeySpec", "AES_128", "NumberOfBytes", "1024"}},
	} {
		r := b.ok("GenerateDataKey", append(c.pairs, "KeyId", id, "EncryptionContext", `{"a":"b"}`)...)
		raw, err := base64.StdEncoding.DecodeString(r.str("Plaintext"))
		if err != nil || len(raw) != c.size {
			t.Errorf("%q: %d bytes, %v", c.pairs, len(raw), err)
		}
		// The blob holds the base64 text, not the bytes.
		got := b.ok("Decrypt", "CiphertextBlob", r.str("CiphertextBlob"), "EncryptionContext", `{"a":"b"}`)
		if got.str("Plaintext") != r.str("Plaintext") {
			t.Errorf("%q: decrypts to something else", c.pairs)
		}
	}
	for _, bad := range [][]string{{"NumberOfBytes", "0"}, {"NumberOfBytes", "1025"}, {"KeySpec", "AES_192"}} {
		b.refused(400, "InvalidParameter", "GenerateDataKey", append(bad, "KeyId", id)...)
	}
}

func TestCreateKeyRefuses(t *testing.T) {
	b := start(t, t.TempDir())
	for _, pairs := range [][]string{{"KeySpec", "AES"}, {"KeyUsage", "X"}, {"Origin", "X"}, {"ProtectionLevel", "X"},
		{"EnableAutomaticRotation", "maybe"}, {"Tags", "x"}, {"Description", strings.Repeat("x", 8193)}} {
		b.refused(400, "InvalidParameter", "CreateKey", pairs...)
	}
	for _, pairs := range [][]string{{"KeySpec", "RSA_2048"}, {"KeyUsage", "SIGN/VERIFY"}, {"Origin", "EXTERNAL"}} {
		b.refused(400, "Rejected.UnsupportedOperation", "CreateKey", pairs...)
	}
}

// Whatever string and context go in come out again, and nothing else does.
func TestRoundTrip(t *testing.T) {
	b := start(t, t.TempDir())
	id := b.newKey()
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringN(0, -1, kms.MaxPlaintext).Draw(rt, "plaintext")
		context := rapid.MapOfN(rapid.StringN(1, 20, -1), rapid.StringN(0, 20, -1), 0, 4).Draw(rt, "context")
		ec, _ := json.Marshal(context)
		e := b.call("Encrypt", "KeyId", id, "Plaintext", text, "EncryptionContext", string(ec))
		if e.status != 200 {
			rt.Fatalf("encrypt: %s", e.raw)
		}
		d := b.call("Decrypt", "CiphertextBlob", e.str("CiphertextBlob"), "EncryptionContext", string(ec))
		if d.status != 200 || d.str("Plaintext") != text {
			rt.Fatalf("decrypt: %d %q, want %q", d.status, d.raw, text)
		}
	})
}
