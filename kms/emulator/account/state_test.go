package account

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
	bolt "go.etcd.io/bbolt"
)

func testAccount(t *testing.T, path string) *Account {
	t.Helper()
	a, err := Open(path, Options{Region: "cn-hangzhou", Generation: SharedGeneration})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// try performs an action as if it came to the shared endpoint.
func try(a *Account, action string, p wire.Params) (wire.Reply, error) {
	return a.Perform(action, false, p)
}

func must(t *testing.T, a *Account, action string, p wire.Params) wire.Reply {
	t.Helper()
	r, err := try(a, action, p)
	if err != nil {
		t.Fatalf("%s: %v", action, err)
	}
	return r
}

// When the deletion date passes, the key is gone at once, with its versions
// and aliases, and the next change removes them from the file.
func TestDeletionDatePasses(t *testing.T) {
	a := testAccount(t, filepath.Join(t.TempDir(), "state"))
	made := func() string {
		return must(t, a, "CreateKey", nil)["KeyMetadata"].(map[string]string)["KeyId"]
	}
	id, other := made(), made()
	must(t, a, "CreateAlias", wire.Params{"AliasName": "alias/a", "KeyId": id})
	must(t, a, "CreateAlias", wire.Params{"AliasName": "alias/b", "KeyId": other})
	blob := must(t, a, "Encrypt", wire.Params{"KeyId": id, "Plaintext": "x"})["CiphertextBlob"].(string)
	must(t, a, "ScheduleKeyDeletion", wire.Params{"KeyId": id, "PendingWindowInDays": "7"})
	err := a.db.Update(func(tx *bolt.Tx) error {
		v := view{tx: tx, now: time.Now()}
		k, err := v.key(id)
		if err != nil {
			return err
		}
		k.Deleted = v.now.Add(-time.Second)
		return v.putKey(k)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		action string
		p      wire.Params
		want   error
	}{
		{"DescribeKey", wire.Params{"KeyId": id}, wire.ErrKeyNotFound},
		{"DescribeKey", wire.Params{"KeyId": "alias/a"}, wire.ErrAliasNotFound},
		{"Encrypt", wire.Params{"KeyId": id, "Plaintext": "x"}, wire.ErrKeyNotFound},
		{"Decrypt", wire.Params{"CiphertextBlob": blob}, wire.ErrKeyNotFound},
		{"CancelKeyDeletion", wire.Params{"KeyId": id}, wire.ErrKeyNotFound},
		{"UpdateAlias", wire.Params{"AliasName": "alias/a", "KeyId": other}, wire.ErrAliasNotFound},
	} {
		if _, err := try(a, c.action, c.p); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.action, err, c.want)
		}
	}
	if n := must(t, a, "ListKeys", nil)["TotalCount"]; n != 1 {
		t.Errorf("%v keys listed", n)
	}
	if n := must(t, a, "ListAliases", nil)["TotalCount"]; n != 1 {
		t.Errorf("%v aliases listed", n)
	}
	must(t, a, "CreateAlias", wire.Params{"AliasName": "alias/a", "KeyId": other})
	a.db.View(func(tx *bolt.Tx) error {
		for bucket, want := range map[string]int{"keys": 1, "versions": 1, "aliases": 2} {
			if n := tx.Bucket([]byte(bucket)).Stats().KeyN; n != want {
				t.Errorf("%d %s in the file, want %d", n, bucket, want)
			}
		}
		return nil
	})
}

func TestOpenStateRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	a := testAccount(t, path)
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v, %v", fi.Mode(), err)
	}
	if _, err := openState(path); !errors.Is(err, ErrState) {
		t.Errorf("opened twice: %v", err)
	}
	err := a.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMeta).Put([]byte("format"), []byte("2"))
	})
	if err != nil {
		t.Fatal(err)
	}
	a.db.Close()
	if _, err := openState(path); !errors.Is(err, ErrState) {
		t.Errorf("another format: %v", err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("this is no state file, whatever its length may be"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{text, dir, filepath.Join(dir, "no", "such", "dir")} {
		if _, err := openState(bad); !errors.Is(err, ErrState) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
