package account

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrState marks a state file that cannot be opened, read or written.
var ErrState = errors.New("unusable state file")

// stateError is an error of class ErrState that prints only its cause.
type stateError struct{ cause error }

func (e *stateError) Error() string   { return e.cause.Error() }
func (e *stateError) Unwrap() error   { return e.cause }
func (e *stateError) Is(t error) bool { return t == ErrState }

// stateFormat is the version of the records below. What they lacked once has a
// zero value that means what those files meant.
const stateFormat = "1"

var (
	bucketMeta     = []byte("meta")     // "format", "region", and what UpdateMeta put there
	bucketKeys     = []byte("keys")     // key id → key
	bucketVersions = []byte("versions") // key version id → version
	bucketAliases  = []byte("aliases")  // alias/… → key id
)

// key is what the state file knows of a key.
type key struct {
	ID             string    `json:"id"`
	Sequence       uint64    `json:"sequence"` // order of creation
	State          string    `json:"state"`
	Description    string    `json:"description"`
	Protection     string    `json:"protection"`
	PrimaryVersion string    `json:"primaryVersion"`
	Created        time.Time `json:"created"`
	Deleted        time.Time `json:"deleted,omitzero"` // set while PendingDeletion

	// Versions holds every version id, oldest first and the primary last;
	// empty in files of before rotation, for the primary alone.
	Versions []string  `json:"versions,omitempty"`
	Rotated  time.Time `json:"rotated,omitzero"` // the last time; zero: never
	// RotationSeconds is zero without automatic rotation, and NextRotation
	// too then.
	RotationSeconds int64     `json:"rotationSeconds,omitempty"`
	NextRotation    time.Time `json:"nextRotation,omitzero"`

	Instance          string            `json:"instance,omitempty"`  // that it belongs to
	Protected         bool              `json:"protected,omitempty"` // from deletion
	ProtectionComment string            `json:"protectionComment,omitempty"`
	Tags              map[string]string `json:"tags,omitempty"`
}

// version is one generation of key material. A blob names its version, not
// its key.
type version struct {
	KeyID    string    `json:"keyId"`
	Material []byte    `json:"material"` // 32 bytes
	Created  time.Time `json:"created"`
}

// The states of a key.
const (
	stateEnabled         = "Enabled"
	stateDisabled        = "Disabled"
	statePendingDeletion = "PendingDeletion"
)

// openState opens or makes the state file. One process at a time has it open.
// A committed transaction is on the disk when it returns (fdatasync).
func openState(path string) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, &stateError{fmt.Errorf("open state: %s is in use by another process", path)}
	}
	if err != nil {
		return nil, &stateError{fmt.Errorf("open state: %w", err)}
	}
	err = os.Chmod(path, 0o600) // it may be an old file with another mode
	if err == nil {
		err = db.Update(func(tx *bolt.Tx) error {
			for _, name := range [][]byte{bucketMeta, bucketKeys, bucketVersions, bucketAliases} {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			meta := tx.Bucket(bucketMeta)
			switch f := meta.Get([]byte("format")); {
			case f == nil:
				return meta.Put([]byte("format"), []byte(stateFormat))
			case string(f) != stateFormat:
				return fmt.Errorf("%s has format %q, this program knows %q", path, f, stateFormat)
			}
			return nil
		})
	}
	if err != nil {
		db.Close()
		return nil, &stateError{fmt.Errorf("open state: %w", err)}
	}
	return db, nil
}

// claimRegion binds a state file to a region, at its first use: a key exists in
// one region, and a client that is told another must not find it.
func claimRegion(db *bolt.DB, path, region string) error {
	err := db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		switch had := meta.Get([]byte("region")); {
		case had == nil:
			return meta.Put([]byte("region"), []byte(region))
		case string(had) != region:
			return fmt.Errorf("%s belongs to region %s, not %s", path, had, region)
		}
		return nil
	})
	if err != nil {
		return &stateError{fmt.Errorf("open state: %w", err)}
	}
	return nil
}

// view is a transaction at a moment in time: a key whose deletion date has
// passed is not there any more, nor are its aliases and its versions.
type view struct {
	tx  *bolt.Tx
	now time.Time

	instance bool // for a request to an instance's own endpoint
}

func (v view) key(id string) (*key, error) {
	raw := v.tx.Bucket(bucketKeys).Get([]byte(id))
	if raw == nil {
		return nil, wire.ErrKeyNotFound
	}
	k := new(key)
	if err := json.Unmarshal(raw, k); err != nil {
		return nil, err
	}
	if k.gone(v.now) {
		return nil, wire.ErrKeyNotFound
	}
	return k, nil
}

func (k *key) gone(now time.Time) bool {
	return k.State == statePendingDeletion && !now.Before(k.Deleted)
}

// version returns a key version and its key.
func (v view) version(id string) (*version, *key, error) {
	raw := v.tx.Bucket(bucketVersions).Get([]byte(id))
	if raw == nil {
		return nil, nil, wire.ErrKeyNotFound
	}
	kv := new(version)
	if err := json.Unmarshal(raw, kv); err != nil {
		return nil, nil, err
	}
	k, err := v.key(kv.KeyID)
	return kv, k, err
}

// alias returns the key that an alias names.
func (v view) alias(name string) (*key, error) {
	id := v.tx.Bucket(bucketAliases).Get([]byte(name))
	if id == nil {
		return nil, wire.ErrAliasNotFound
	}
	k, err := v.key(string(id))
	if errors.Is(err, wire.ErrKeyNotFound) {
		return nil, wire.ErrAliasNotFound
	}
	return k, err
}

// keys returns every key, oldest first.
func (v view) keys() ([]*key, error) {
	var ks []*key
	err := v.tx.Bucket(bucketKeys).ForEach(func(id, _ []byte) error {
		k, err := v.key(string(id))
		if err == nil {
			ks = append(ks, k)
		} else if !errors.Is(err, wire.ErrKeyNotFound) {
			return err
		}
		return nil
	})
	sortBy(ks, func(k *key) uint64 { return k.Sequence })
	return ks, err
}

func (v view) putKey(k *key) error {
	raw, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return v.tx.Bucket(bucketKeys).Put([]byte(k.ID), raw)
}

func (v view) putVersion(id string, kv *version) error {
	raw, err := json.Marshal(kv)
	if err != nil {
		return err
	}
	return v.tx.Bucket(bucketVersions).Put([]byte(id), raw)
}

// Records are named entries of the state file.
type Records interface {
	// Get returns nil for what is not there. Its bytes end with the transaction.
	Get(name []byte) []byte
	// Put stores a value under a name, in place of another.
	Put(name, value []byte) error
}

// UpdateMeta changes the records that belong to no key, in one transaction. Its
// error is of class ErrState.
func (a *Account) UpdateMeta(change func(Records) error) error {
	err := a.db.Update(func(tx *bolt.Tx) error { return change(tx.Bucket(bucketMeta)) })
	if err != nil {
		return &stateError{err}
	}
	return nil
}
