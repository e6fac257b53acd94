package emulator_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// writeOldState makes a state file as it was before there were rotation, tags,
// instances and the instance's authority. The region was not in the first ones.
func writeOldState(t *testing.T, path, id, version string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	record := func(v map[string]any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	const created = "2026-11-23T12:00:00Z"
	err = db.Update(func(tx *bolt.Tx) error {
		for bucket, entries := range map[string]map[string]string{
			"meta": {"format": "1"},
			"keys": {id: record(map[string]any{
				"id": id, "sequence": 1, "state": "Enabled", "description": "old", "protection": "SOFTWARE",
				"primaryVersion": version, "created": created,
			})},
			"versions": {version: record(map[string]any{"keyId": id, "material": make([]byte, 32), "created": created})},
			"aliases":  {"alias/old": id},
		} {
			b, err := tx.CreateBucket([]byte(bucket))
			if err != nil {
				return err
			}
			for name, value := range entries {
				if err := b.Put([]byte(name), []byte(value)); err != nil {
					return err
				}
			}
			if bucket == "keys" {
				if err := b.SetSequence(1); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// An older state file opens in either generation, and its keys go on working.
func TestOldStateFile(t *testing.T) {
	const id, version = "0a1b2c3d-0000-4000-8000-00000000000a", "0a1b2c3d-0000-4000-8000-00000000000b"
	dir := t.TempDir()
	writeOldState(t, filepath.Join(dir, "state.db"), id, version)
	b := start(t, dir)
	blob := b.seal("alias/old")
	m := b.metadata(b.ok("DescribeKey", "KeyId", id))
	if _, owned := m["DKMSInstanceId"]; owned || m["Description"] != "old" || m["PrimaryKeyVersion"] != version {
		t.Errorf("described %v", m)
	}
	b.stop()
	b = start(t, dir, withInstance)
	b.each(cryptography(id, blob), "200")
	b.atInstance().each(cryptography(id, blob)[:4], "404 Forbidden.KeyNotFound")
	// It is the second key of its file.
	if second := b.newKey(); !strings.HasPrefix(second, "key-phzz") {
		t.Errorf("made %s", second)
	}
	if next := b.ok("CreateKeyVersion", "KeyId", id).body["KeyVersion"].(map[string]any)["KeyVersionId"].(string); !uuidForm.MatchString(next) {
		t.Errorf("the old key's next version is %s", next)
	}
}
