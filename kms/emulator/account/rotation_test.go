package account

import (
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

const day = 24 * time.Hour

// describe returns a key's metadata.
func describe(t *testing.T, a *Account, id string) map[string]string {
	t.Helper()
	return must(t, a, "DescribeKey", wire.Params{"KeyId": id})["KeyMetadata"].(map[string]string)
}

// When the date of a rotation passes, the next call of any kind finds a new
// primary version, and the old one still decrypts.
func TestAutomaticRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state")
		a := testAccount(t, path)
		made := must(t, a, "CreateKey", wire.Params{"EnableAutomaticRotation": "true", "RotationInterval": "7d"})["KeyMetadata"].(map[string]string)
		id, begun := made["KeyId"], time.Now().UTC()
		other := must(t, a, "CreateKey", nil)["KeyMetadata"].(map[string]string)
		if made["AutomaticRotation"] != "Enabled" || made["RotationInterval"] != "604800s" ||
			made["NextRotationDate"] != begun.Add(7*day).Format(wire.TimeLayout) || made["LastRotationDate"] != made["CreationDate"] {
			t.Errorf("made %v", made)
		}
		blob := must(t, a, "Encrypt", wire.Params{"KeyId": id, "Plaintext": "x"})["CiphertextBlob"].(string)
		state := func(versions int, last, next time.Time) {
			t.Helper()
			m := describe(t, a, id)
			list := must(t, a, "ListKeyVersions", wire.Params{"KeyId": id})
			if list["TotalCount"] != versions || m["LastRotationDate"] != last.Format(wire.TimeLayout) || m["NextRotationDate"] != next.Format(wire.TimeLayout) {
				t.Errorf("%v versions, %v; want %d, last %v, next %v", list["TotalCount"], m, versions, last, next)
			}
			e := must(t, a, "Encrypt", wire.Params{"KeyId": id, "Plaintext": "y"})
			if e["KeyVersionId"] != m["PrimaryKeyVersion"] {
				t.Errorf("encrypts with %v, the primary is %s", e["KeyVersionId"], m["PrimaryKeyVersion"])
			}
			if d := must(t, a, "Decrypt", wire.Params{"CiphertextBlob": blob}); d["Plaintext"] != "x" || d["KeyVersionId"] != made["PrimaryKeyVersion"] {
				t.Errorf("the first ciphertext gives %v", d)
			}
		}
		// Until then no call has to look.
		if got := time.Unix(0, a.nextRotation.Load()); !got.Equal(begun.Truncate(time.Second).Add(7 * day)) {
			t.Errorf("the next rotation is expected at %v", got)
		}
		time.Sleep(7*day - time.Second)
		state(1, begun, begun.Add(7*day))
		time.Sleep(time.Second)
		state(2, begun.Add(7*day), begun.Add(14*day))
		state(2, begun.Add(7*day), begun.Add(14*day))

		// Nobody called for three weeks and a day: one rotation, and the
		// dates stay in step.
		time.Sleep(22 * day)
		state(3, begun.Add(28*day), begun.Add(35*day))

		// A server that did not run catches up at its first call.
		a.db.Close()
		time.Sleep(7 * day)
		a = testAccount(t, path)
		state(4, begun.Add(35*day), begun.Add(42*day))

		// The other key has no policy.
		if m := describe(t, a, other["KeyId"]); m["PrimaryKeyVersion"] != other["PrimaryKeyVersion"] || m["AutomaticRotation"] != "Disabled" || m["NextRotationDate"] != "" {
			t.Errorf("without a policy: %v", m)
		}
	})
}

// A key that may not be used is not rotated, and catches up when it may.
func TestRotationSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := testAccount(t, filepath.Join(t.TempDir(), "state"))
		first := must(t, a, "CreateKey", nil)["KeyMetadata"].(map[string]string)
		id := first["KeyId"]
		must(t, a, "UpdateRotationPolicy", wire.Params{"KeyId": id, "EnableAutomaticRotation": "true", "RotationInterval": "240h"})
		must(t, a, "DisableKey", wire.Params{"KeyId": id})
		time.Sleep(11 * day)
		m := describe(t, a, id)
		if m["AutomaticRotation"] != "Suspended" || m["PrimaryKeyVersion"] != first["PrimaryKeyVersion"] || m["RotationInterval"] != "864000s" || m["NextRotationDate"] != "" {
			t.Errorf("disabled: %v", m)
		}
		must(t, a, "EnableKey", wire.Params{"KeyId": id})
		m = describe(t, a, id)
		if m["AutomaticRotation"] != "Enabled" || m["PrimaryKeyVersion"] == first["PrimaryKeyVersion"] {
			t.Errorf("enabled: %v", m)
		}
		// Without a policy nothing happens any more.
		must(t, a, "UpdateRotationPolicy", wire.Params{"KeyId": id, "EnableAutomaticRotation": "false"})
		time.Sleep(100 * day)
		if after := describe(t, a, id); after["PrimaryKeyVersion"] != m["PrimaryKeyVersion"] || after["AutomaticRotation"] != "Disabled" {
			t.Errorf("without a policy: %v", after)
		}
	})
}

func TestRotationPolicyRefuses(t *testing.T) {
	a := testAccount(t, filepath.Join(t.TempDir(), "state"))
	id := must(t, a, "CreateKey", nil)["KeyMetadata"].(map[string]string)["KeyId"]
	must(t, a, "CreateAlias", wire.Params{"AliasName": "alias/a", "KeyId": id})
	refused := func(want *wire.Error, p wire.Params) {
		t.Helper()
		if _, err := try(a, "UpdateRotationPolicy", p); err == nil || want.Code != err.(*wire.Error).Code {
			t.Errorf("%v: %v, want %v", p, err, want)
		}
	}
	for interval, code := range map[string]string{
		"7d": "", "168h": "", "10080m": "", "604800s": "", "730d": "", "63072000s": "",
		"": "MissingParameter", "6d": "InvalidParameter", "604799s": "InvalidParameter", "731d": "InvalidParameter",
		"63072001s": "InvalidParameter", "7": "InvalidParameter", "7w": "InvalidParameter", "-7d": "InvalidParameter",
		"07d": "InvalidParameter", "7.5d": "InvalidParameter", "999999999d": "InvalidParameter", "9999999999999999999s": "InvalidParameter",
	} {
		_, err := try(a, "UpdateRotationPolicy", wire.Params{"KeyId": id, "EnableAutomaticRotation": "true", "RotationInterval": interval})
		if got, _ := err.(*wire.Error); (got == nil) != (code == "") || got != nil && got.Code != code {
			t.Errorf("%q: %v, want %q", interval, err, code)
		}
	}
	refused(wire.Missing("EnableAutomaticRotation"), wire.Params{"KeyId": id, "RotationInterval": "7d"})
	refused(wire.ErrUnsupportedAlias, wire.Params{"KeyId": "alias/a", "EnableAutomaticRotation": "false"})
	refused(wire.ErrKeyNotFound, wire.Params{"KeyId": "none", "EnableAutomaticRotation": "false"})
	must(t, a, "DisableKey", wire.Params{"KeyId": id})
	refused(wire.ErrDisabled, wire.Params{"KeyId": id, "EnableAutomaticRotation": "false"})
}

// A file from before rotation knows one version of each key.
func TestKeysOfBeforeRotation(t *testing.T) {
	k := &key{PrimaryVersion: "p"}
	if got := k.versionIDs(); !slices.Equal(got, []string{"p"}) {
		t.Errorf("got %v", got)
	}
	a := testAccount(t, filepath.Join(t.TempDir(), "state"))
	id := must(t, a, "CreateKey", nil)["KeyMetadata"].(map[string]string)["KeyId"]
	blob := must(t, a, "Encrypt", wire.Params{"KeyId": id, "Plaintext": "x"})["CiphertextBlob"].(string)
	err := a.update(time.Now(), func(v view) error {
		k, err := v.key(id)
		if err != nil {
			return err
		}
		k.Versions = nil
		return v.putKey(k)
	})
	if err != nil {
		t.Fatal(err)
	}
	must(t, a, "CreateKeyVersion", wire.Params{"KeyId": id})
	if n := must(t, a, "ListKeyVersions", wire.Params{"KeyId": id})["TotalCount"]; n != 2 {
		t.Errorf("%v versions", n)
	}
	if d := must(t, a, "Decrypt", wire.Params{"CiphertextBlob": blob}); d["Plaintext"] != "x" {
		t.Errorf("got %v", d)
	}
}
