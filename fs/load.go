package fs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/invalidate"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// handleFor makes the handle of a version: its ciphertext and the encryption
// context that belongs to its place.
func (f *FS) handleFor(rel string, c content) (*handle, error) {
	h := &handle{rel: rel, kind: c.kind, context: f.cfg.Context}
	if f.cfg.BindNames {
		var err error
		if h.context, err = f.cfg.Context.Bind(strings.TrimSuffix(rel, source.Suffix)); err != nil {
			return nil, &kms.Error{Class: kms.ErrBadCiphertext, Action: "Decrypt", Detail: err.Error()}
		}
	}
	h.key = f.keyOf(c.identity, h.context)
	return h, nil
}

// handleOf returns the ciphertext of a node's version.
func (f *FS) handleOf(n *node, r *audit.Open) (h *handle, status fuse.Status) {
	if h = n.kept.Load(); h == nil {
		found, c, err := f.lookFile(n.rel)
		switch {
		case err != nil:
			r.Err = err
			return nil, sourceStatus(err)
		case found.id != n.id:
			r.Err = errors.New("replaced since it was opened, and too many files are known to keep the bytes of this one")
			return nil, fuse.Status(syscall.ESTALE)
		case c.err() != nil:
			r.Err = c.err()
			return nil, fuse.Status(syscall.EBADMSG)
		}
		if h, err = f.handleFor(n.rel, c); err != nil {
			r.Err = err
			return nil, loadStatus(err)
		}
	}
	r.KeyVersion = h.kind.KeyVersion()
	return h, fuse.OK
}

// keyOf hashes everything that decides the plaintext of a file: what the
// ciphertext has of its own, the encoding, and the encryption context.
func (f *FS) keyOf(identity [sha256.Size]byte, ec kms.EncryptionContext) cache.Key {
	h := sha256.New()
	h.Write(identity[:])
	addPart(h, strconv.Itoa(int(f.cfg.Encoding)))
	for _, name := range slices.Sorted(maps.Keys(ec)) {
		addPart(h, name)
		addPart(h, ec[name])
	}
	return cache.Key(h.Sum(nil))
}

// addPart adds a part behind its length.
func addPart(h hash.Hash, s string) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write(unsafe.Slice(unsafe.StringData(s), len(s))) // no copy
}

// lease returns the plaintext of a handle's version, decrypting it if need
// be. ctx ends only this caller's wait. The cache keeps the loader of a file
// in use, to decrypt it again ahead of time: it holds ciphertext only.
func (f *FS) lease(ctx context.Context, h *handle) (*cache.Lease, error) {
	lease, err := f.cfg.Cache.Get(ctx, h.key, &loading{f, h, kms.CallersOf(ctx)})
	if err != nil {
		return nil, err
	}
	if h.kind.Size(f.cfg.Encoding) == unknownSize {
		f.sizes.learn(h.key, len(lease.Bytes()), lease.Group())
	}
	if lease.Stale() {
		f.audit.Stale(h.rel, lease.Left(), lease.Trouble())
	}
	return lease, nil
}

// loading is what the cache loads a handle's version with.
type loading struct {
	*FS
	h       *handle
	callers *kms.Callers // for whom; nil: nobody in particular
}

// Load implements cache.Loader.
func (l *loading) Load(ctx context.Context) (cache.Loaded, error) { return l.load(ctx, l.h) }

// Join implements cache.Joiner: the load goes with the turn of each of its callers.
func (l *loading) Join(waiting cache.Loader) {
	if w, ok := waiting.(*loading); ok && l.callers != nil && w.callers != nil {
		l.callers.AddCaller(w.callers.First())
	}
}

// load opens a handle's version.
func (f *FS) load(ctx context.Context, h *handle) (cache.Loaded, error) {
	o, err := h.kind.Open(ctx, f.cfg.Decrypter, h.context, f.cfg.Encoding)
	if err != nil {
		f.refused(h, err)
		f.recordFailure(ctx, h.rel, err)
		return cache.Loaded{}, err
	}
	for _, note := range o.Notes {
		f.notice(h.rel, note)
	}
	f.sizes.learnVersion(h.kind, f.cfg.Encoding, o.KeyVersionID, len(o.Secret))
	return cache.Loaded{Plaintext: o.Secret, Asked: o.Asked, Group: cmp.Or(h.kind.KeyVersion(), o.KeyVersionID), Origin: o.RequestID}, nil
}

// groupOf is the key version of a handle's ciphertext; empty as long as nobody
// knows it.
func (f *FS) groupOf(h *handle) string {
	if version := h.kind.KeyVersion(); version != "" {
		return version
	}
	return f.sizes.version(h.key)
}

// plaintextOf is what pages of a handle come from.
func (f *FS) plaintextOf(h *handle) invalidate.Plaintext {
	return invalidate.Plaintext{Key: h.key, Group: f.groupOf(h)}
}

// refused purges what the service does not open any more, the file or all that
// a key version encrypted, and then drops the kernel's pages of it. The
// purge comes first: a reader that dates its pages after it sees that nothing is
// left, and pages that were dated before are found.
func (f *FS) refused(h *handle, err error) {
	group := ""
	switch {
	case errors.Is(err, kms.ErrKeyState):
		group = f.groupOf(h)
	case errors.Is(err, kms.ErrDenied), errors.Is(err, kms.ErrBadCiphertext):
	default:
		return
	}
	f.cfg.Cache.Refuse(h.key)
	if group != "" {
		f.cfg.Cache.PurgeGroup(group)
	}
	f.pages.DropIf(func(from invalidate.Plaintext) bool {
		return from.Key == h.key || group != "" && from.Group == group
	})
}

// recordFailure remembers the error of a load. One that was called off, by a
// purge or at the end, has not failed.
func (f *FS) recordFailure(ctx context.Context, rel string, err error) {
	if ctx.Err() != context.Canceled {
		f.audit.Failed(strings.TrimSuffix(rel, source.Suffix), err)
	}
}

// Failures returns what failed so far, the latest first.
func (f *FS) Failures() []audit.Failure { return f.audit.Failures() }
