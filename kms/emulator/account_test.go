package emulator_test

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kmsfs/kmsfs/kms/emulator"
)

// Two regions share nothing, and a state file stays in its own.
func TestRegions(t *testing.T) {
	dir := t.TempDir()
	here := start(t, t.TempDir())
	there := start(t, dir, func(c *emulator.Config) { c.Region = "cn-beijing" })
	id := there.newKey()
	blob := there.ok("Encrypt", "KeyId", id, "Plaintext", "x").str("CiphertextBlob")
	arn := there.metadata(there.ok("DescribeKey", "KeyId", id))["Arn"].(string)
	if !strings.HasPrefix(arn, "acs:kms:cn-beijing:") {
		t.Errorf("arn %s", arn)
	}
	there.ok("Encrypt", "KeyId", arn, "Plaintext", "x")
	here.refused(404, "Forbidden.KeyNotFound", "Decrypt", "CiphertextBlob", blob)
	here.refused(404, "Forbidden.KeyNotFound", "ReEncrypt", "CiphertextBlob", blob, "DestinationKeyId", here.newKey())
	here.refused(404, "Forbidden.KeyNotFound", "Encrypt", "KeyId", arn, "Plaintext", "x")
	here.refused(404, "Forbidden.KeyNotFound", "Encrypt", "KeyId", id, "Plaintext", "x")
	for b, want := range map[*bench]string{here: "cn-hangzhou", there: "cn-beijing"} {
		got := b.ok("DescribeRegions").body["Regions"]
		if d := cmp.Diff(map[string]any{"Region": []any{map[string]any{"RegionId": want}}}, got); d != "" {
			t.Errorf("DescribeRegions (-want +got):\n%s", d)
		}
	}
	there.stop()
	s, err := emulator.New(emulator.Config{
		Listen: "127.0.0.1:0", State: filepath.Join(dir, "state.db"), AccessKeyID: "x", AccessKeySecret: "y",
	})
	if !errors.Is(err, emulator.ErrState) || !strings.Contains(err.Error(), "belongs to region cn-beijing, not cn-hangzhou") {
		t.Errorf("in another region: %v", err)
	}
	if err == nil {
		s.Close()
	}
	start(t, dir, func(c *emulator.Config) { c.Region = "cn-beijing" }).ok("Decrypt", "CiphertextBlob", blob)
}

// The bound counts cryptographic calls that are signed, and no others.
func TestQPS(t *testing.T) {
	b := start(t, t.TempDir(), func(c *emulator.Config) { c.QPS = 1 })
	id := b.newKey()
	v := request("POST", "Encrypt", "KeyId", id, "Plaintext", "x")
	v.Set("Signature", "x")
	for range 3 {
		if r, err := b.send(v); err != nil || r.code() != "SignatureDoesNotMatch" {
			t.Errorf("%v %s", err, r.raw)
		}
	}
	blob := b.ok("Encrypt", "KeyId", id, "Plaintext", "x").str("CiphertextBlob")
	// One call a second, whatever it is: soon one is too many.
	actions := [][]string{
		{"Decrypt", "CiphertextBlob", blob}, {"Encrypt", "KeyId", id, "Plaintext", "x"}, {"GenerateDataKey", "KeyId", id},
		{"GenerateDataKeyWithoutPlaintext", "KeyId", id}, {"ReEncrypt", "CiphertextBlob", blob, "DestinationKeyId", id},
	}
	for _, a := range actions {
		throttled := false
		for range 50 {
			r := b.call(a[0], a[1:]...)
			if r.status == 429 {
				if r.code() != "Rejected.Throttling" || r.str("Message") != "QPS Limit Exceeded" || r.body["HttpStatus"] != 429.0 {
					t.Errorf("%s: %s", a[0], r.raw)
				}
				throttled = true
				break
			}
		}
		if !throttled {
			t.Errorf("%s: never throttled", a[0])
		}
	}
	for range 20 {
		b.ok("DescribeKey", "KeyId", id)
	}
}

func TestAliasesByKey(t *testing.T) {
	b := start(t, t.TempDir())
	one, two := b.newKey(), b.newKey()
	for i := range 12 {
		b.ok("CreateAlias", "AliasName", fmt.Sprintf("alias/one-%02d", i), "KeyId", one)
	}
	b.ok("CreateAlias", "AliasName", "alias/a-two", "KeyId", two)
	list := func(total, number, size int, pairs ...string) []string {
		t.Helper()
		return b.list("ListAliasesByKeyId", "Aliases", "Alias", "AliasName", total, number, size, pairs...)
	}
	for _, c := range []struct {
		got  []string
		want []string
	}{
		{list(1, 1, 10, "KeyId", two), []string{"alias/a-two"}},
		{list(12, 2, 10, "KeyId", one, "PageNumber", "2"), []string{"alias/one-10", "alias/one-11"}},
		{list(12, 5, 3, "KeyId", one, "PageNumber", "5", "PageSize", "3"), nil},
		{list(0, 1, 10, "KeyId", b.newKey()), nil},
	} {
		if d := cmp.Diff(c.want, c.got); d != "" {
			t.Errorf("ListAliasesByKeyId (-want +got):\n%s", d)
		}
	}
	b.refused(404, "Forbidden.KeyNotFound", "ListAliasesByKeyId", "KeyId", "none")
	b.refused(400, "MissingParameter", "ListAliasesByKeyId")
	b.refused(400, "Unsupported.Alias", "ListAliasesByKeyId", "KeyId", "alias/a-two")
	b.refused(400, "InvalidParameter", "ListAliasesByKeyId", "KeyId", one, "PageSize", "101")
}

func TestDescriptionProtectionTags(t *testing.T) {
	b := start(t, t.TempDir())
	id := b.metadata(b.ok("CreateKey", "Description", "old", "Tags", `[{"TagKey":"b","TagValue":"1"}]`))["KeyId"].(string)
	b.ok("UpdateKeyDescription", "KeyId", id, "Description", "new")
	m := b.metadata(b.ok("DescribeKey", "KeyId", id))
	arn := m["Arn"].(string)
	if m["Description"] != "new" || m["DeletionProtection"] != "Disabled" {
		t.Errorf("got %v", m)
	}
	b.refused(400, "MissingParameter", "UpdateKeyDescription", "KeyId", id)
	b.refused(400, "InvalidParameter", "UpdateKeyDescription", "KeyId", id, "Description", strings.Repeat("x", 8193))

	b.ok("SetDeletionProtection", "ProtectedResourceArn", arn, "EnableDeletionProtection", "true", "DeletionProtectionDescription", "in use")
	if m := b.metadata(b.ok("DescribeKey", "KeyId", id)); m["DeletionProtection"] != "Enabled" || m["DeletionProtectionDescription"] != "in use" {
		t.Errorf("got %v", m)
	}
	b.refused(409, "Rejected.StateModifiedFailed", "ScheduleKeyDeletion", "KeyId", id, "PendingWindowInDays", "7")
	b.refused(400, "InvalidParameter", "SetDeletionProtection", "ProtectedResourceArn", id, "EnableDeletionProtection", "true")
	b.refused(404, "Forbidden.KeyNotFound", "SetDeletionProtection", "ProtectedResourceArn", arn+"0", "EnableDeletionProtection", "true")
	b.refused(400, "MissingParameter", "SetDeletionProtection", "ProtectedResourceArn", arn)

	tags := func() (got []string) {
		t.Helper()
		for _, x := range b.ok("ListResourceTags", "KeyId", id).body["Tags"].(map[string]any)["Tag"].([]any) {
			tag := x.(map[string]any)
			if tag["KeyId"] != id {
				t.Errorf("tag %v", tag)
			}
			got = append(got, tag["TagKey"].(string)+"="+tag["TagValue"].(string))
		}
		return got
	}
	b.ok("TagResource", "KeyId", id, "Tags", `[{"TagKey":"a","TagValue":"2"},{"TagKey":"b","TagValue":"3"}]`)
	if d := cmp.Diff([]string{"a=2", "b=3"}, tags()); d != "" {
		t.Errorf("tags (-want +got):\n%s", d)
	}
	b.ok("UntagResource", "KeyId", id, "TagKeys", `["b","none"]`)
	if d := cmp.Diff([]string{"a=2"}, tags()); d != "" {
		t.Errorf("tags (-want +got):\n%s", d)
	}
	for _, bad := range []string{`x`, `[]`, `[{"TagValue":"x"}]`, `[{"TagKey":"a"},{"TagKey":"a"}]`, `[{"TagKey":"` + strings.Repeat("x", 129) + `"}]`} {
		b.refused(400, "InvalidParameter", "TagResource", "KeyId", id, "Tags", bad)
	}
	b.refused(400, "Rejected.UnsupportedOperation", "ListResourceTags", "SecretName", "x")
	b.refused(400, "InvalidParameter", "UntagResource", "KeyId", id, "TagKeys", `"a"`)

	b.ok("SetDeletionProtection", "ProtectedResourceArn", arn, "EnableDeletionProtection", "false")
	b.ok("ScheduleKeyDeletion", "KeyId", id, "PendingWindowInDays", "7")
	b.refused(409, "Rejected.PendingDeletion", "SetDeletionProtection", "ProtectedResourceArn", arn, "EnableDeletionProtection", "true")
	b.refused(409, "Rejected.PendingDeletion", "UpdateKeyDescription", "KeyId", id, "Description", "x")
	if got := b.ok("DescribeAccountKmsStatus").str("AccountStatus"); got != "Enabled" {
		t.Errorf("account %q", got)
	}
}

// Every documented code comes as a fault with its status, in the shape of who
// says it.
func TestCatalogue(t *testing.T) {
	b := start(t, t.TempDir())
	for code, want := range map[string]int{
		"Forbidden.KeyNotFound": 404, "Forbidden.KeyVersionNotFound": 404, "Rejected.PendingImport": 409, "Throttling.User": 400,
		"Rejected.Throttling": 429, "ServiceUnavailableTemporary": 503, "InternalFailure": 500, "Forbidden.InDebt": 403, "Not.Listed": 400,
	} {
		b.fault(`{"count":1,"code":"` + code + `"}`)
		r := b.call("ListKeys")
		if r.status != want || r.code() != code || r.body["HttpStatus"] != float64(want) || !uuidForm.MatchString(r.str("RequestId")) {
			t.Errorf("%s: %d %s", code, r.status, r.raw)
		}
	}
	for code, want := range map[string]int{"InvalidAccessKeyId.NotFound": 404, "SignatureNonceUsed": 400, "InvalidProtocol.NeedSsl": 404, "InvalidSecurityToken.Expired": 400} {
		b.fault(`{"count":1,"code":"` + code + `"}`)
		r := b.call("ListKeys")
		id := r.str("RequestId")
		_, kms := r.body["HttpStatus"]
		if r.status != want || r.code() != code || kms || r.str("Message") == "" || r.str("HostId") != "kms.cn-hangzhou.aliyuncs.com" ||
			id != strings.ToUpper(id) || !uuidForm.MatchString(strings.ToLower(id)) || !strings.HasSuffix(r.str("Recommend"), "requestId="+id) {
			t.Errorf("%s: %d %s", code, r.status, r.raw)
		}
	}
	b.fault(`{"count":1,"code":"Rejected.Throttling","status":400,"message":"slow"}`)
	if r := b.call("ListKeys"); r.status != 400 || r.str("Message") != "slow" {
		t.Errorf("its own status and text: %d %s", r.status, r.raw)
	}
}

// The longest request line: 6144 bytes that all need encoding.
func TestLongRequestLine(t *testing.T) {
	b := start(t, t.TempDir())
	text := strings.Repeat("+", 6144)
	v := request("GET", "Encrypt", "KeyId", b.newKey(), "Plaintext", text, "EncryptionContext", `{"a":"`+strings.Repeat("x", 2000)+`"}`)
	if n := len(v.Encode()); n < 20<<10 {
		t.Fatalf("only %d bytes", n)
	}
	r, err := b.post("GET", v, url.Values(nil))
	if err != nil || r.status != 200 {
		t.Fatalf("%v %d %.200s", err, r.status, r.raw)
	}
	if got := b.ok("Decrypt", "CiphertextBlob", r.str("CiphertextBlob"), "EncryptionContext", v.Get("EncryptionContext")).str("Plaintext"); got != text {
		t.Errorf("got %d bytes", len(got))
	}
}
