package account

import (
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

// maxVersions bounds the versions of a key (documented).
const maxVersions = 50

// versionIDs returns the ids of a key's versions, oldest first.
func (k *key) versionIDs() []string {
	if len(k.Versions) == 0 {
		return []string{k.PrimaryVersion}
	}
	return k.Versions
}

// addVersion gives a key new material and makes it the primary. The caller
// stores the key. Older versions go on decrypting.
func (v view) addVersion(k *key, created time.Time) error {
	ids := k.Versions
	if k.PrimaryVersion != "" {
		ids = k.versionIDs()
	}
	id := k.newVersionID()
	kv := &version{KeyID: k.ID, Material: make([]byte, keyBytes), Created: created}
	rand.Read(kv.Material) // never fails
	k.Versions, k.PrimaryVersion = append(slices.Clone(ids), id), id
	return v.putVersion(id, kv)
}

// createKeyVersion rotates a key by hand. The service documents it for
// asymmetric keys, and for those that two versions are seven days apart; for
// symmetric keys, the only kind here, chosen: it works at once, and the new
// version becomes the primary as in automatic rotation.
func (a *Account) createKeyVersion(v view, p wire.Params) (wire.Reply, error) {
	k, err := a.resolve(v, p, true)
	if err != nil {
		return nil, err
	}
	if err := k.usable(); err != nil {
		return nil, err
	}
	if len(k.versionIDs()) >= maxVersions {
		return nil, wire.ErrLimit
	}
	if err := v.rotate(k, v.now.UTC().Truncate(time.Second)); err != nil {
		return nil, err
	}
	return v.describeVersion(k, k.PrimaryVersion)
}

func (a *Account) describeKeyVersion(v view, p wire.Params) (wire.Reply, error) {
	id, err := p.Need("KeyVersionId")
	if err != nil {
		return nil, err
	}
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(k.versionIDs(), id) {
		return nil, wire.ErrVersionNotFound
	}
	return v.describeVersion(k, id)
}

func (v view) describeVersion(k *key, id string) (wire.Reply, error) {
	m, err := v.versionMetadata(k, id)
	return wire.Reply{"KeyVersion": m}, err
}

func (v view) versionMetadata(k *key, id string) (map[string]string, error) {
	kv, _, err := v.version(id)
	if errors.Is(err, wire.ErrKeyNotFound) {
		err = wire.ErrVersionNotFound
	}
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"KeyId": k.ID, "KeyVersionId": id, "CreationDate": kv.Created.Format(wire.TimeLayout),
	}, nil
}

// listKeyVersions lists the newest first, as the service's sample does.
func (a *Account) listKeyVersions(v view, p wire.Params) (wire.Reply, error) {
	paging, err := p.Paging(1)
	if err != nil {
		return nil, err
	}
	k, err := a.resolve(v, p, true)
	if err != nil {
		return nil, err
	}
	ids := slices.Clone(k.versionIDs())
	slices.Reverse(ids)
	list := []map[string]string{}
	for _, id := range wire.Page(ids, paging) {
		m, err := v.versionMetadata(k, id)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return paging.Counts(wire.Reply{"KeyVersions": map[string]any{"KeyVersion": list}}, len(ids)), nil
}
