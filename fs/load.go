package fs

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/kms"
)

// keyOf hashes everything that decides the plaintext of a direct file: the
// kind, the ciphertext, and the encryption context. Lengths keep the parts
// from running into each other.
func (f *FS) keyOf(blob kms.Blob) cache.Key {
	h := sha256.New()
	part := func(s string) {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	part("direct")
	part(blob.Text)
	for _, name := range slices.Sorted(maps.Keys(f.cfg.Context)) {
		part(name)
		part(f.cfg.Context[name])
	}
	return cache.Key(h.Sum(nil))
}

// lease returns the plaintext of a handle's version, decrypting it if need
// be. ctx ends only this caller's wait.
func (f *FS) lease(ctx context.Context, h *handle) (*cache.Lease, error) {
	blob := h.blob
	lease, err := f.cfg.Cache.Get(ctx, h.key, func(ctx context.Context) (cache.Loaded, error) {
		d, err := f.cfg.Decrypter.Decrypt(ctx, blob, f.cfg.Context)
		if err != nil {
			return cache.Loaded{}, err
		}
		if err := blob.Check(d); err != nil {
			d.Wipe()
			return cache.Loaded{}, err
		}
		return cache.Loaded{Plaintext: d.Plaintext, Group: blob.KeyVersionID, Origin: d.RequestID}, nil
	})
	if err != nil && errors.Is(err, kms.ErrKeyState) {
		// What the service says of a key version holds for all it encrypted.
		f.cfg.Cache.PurgeGroup(blob.KeyVersionID)
	}
	return lease, err
}
