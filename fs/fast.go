package fs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// What open=fast does in another way: OPEN answers ENOSYS, and from then on
// the kernel opens by itself and keeps plaintext in its page cache, so that a
// cached open, read and close send no message at all. Permissions are the
// kernel's (default_permissions), errors appear at read, and records are of
// decryptions.
//
// INVARIANT: no page outlives the plaintext it was read from: invalidate.Pages drops
// it on time, and while this process is dead, the kernel: it reads no page of
// a file whose attributes it may no longer trust, and never trusts them
// longer than the plaintext may be served (attrTrust).
// INVARIANT: a node serves the bytes it was looked up with, to its last reader.

// keptMax bounds the ciphertext kept for the nodes that the kernel knows, in
// bytes. Nodes beyond it are found anew in the source when they are read, and
// their names are not trusted.
const keptMax = 64 << 20

// kernelOpens is the mode open=fast.
type kernelOpens struct{ *FS }

func (m *kernelOpens) opensAtLookup() bool { return true }
func (m *kernelOpens) trustsLookup() bool  { return m.trustsNames() }

// trustsNames: not where a LOOKUP may wait for the key service. Where inotify cannot
// be had names are trusted all the same, for a second.
func (m *kernelOpens) trustsNames() bool { return m.cfg.Encoding == kms.Raw }

// No OPEN follows that would have to know.
func (m *kernelOpens) walksAgain(uint32) {}
func (m *kernelOpens) walkEnds(uint32)   {}

func (m *kernelOpens) lookedUp(l looked, _ bool) time.Duration {
	if l.busy {
		return 0
	}
	return m.entryTrust(l.node)
}

func (m *kernelOpens) listed(n *node) time.Duration {
	if n.young() {
		return 0
	}
	return m.entryTrust(n)
}

// entryTrust is how long the kernel may take the name of n for granted.
func (m *kernelOpens) entryTrust(n *node) time.Duration {
	if !m.trustsNames() || n.kind == source.ModeFile && !n.plain && n.kept.Load() == nil {
		return 0
	}
	return nameTrust
}

// attrTrust ends with the plaintext.
func (m *kernelOpens) attrTrust(n *node) time.Duration {
	switch h := n.kept.Load(); {
	case n.kind != source.ModeFile:
		return fileAttrTimeout
	case n.plain:
		return nameTrust
	case h == nil:
		return 0
	default:
		return min(m.cfg.Cache.Bound(h.key), m.pages.Left(n.id))
	}
}

// shownSize is a byte for an empty file: else the kernel serves nothing at all, and
// asks nobody whether that is right. Of what is no ciphertext the open succeeds,
// and readers make room for all.
func (m *kernelOpens) shownSize(size int64) int64 {
	if size == 0 {
		return 1
	}
	return min(size, kms.MaxBlobFile+1)
}

// open tells the kernel not to ask.
func (m *kernelOpens) open(_ *session.Request, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	if !readsOnly(in) {
		return fuse.EROFS
	}
	return fuse.ENOSYS
}

// read serves a page of a node's version.
func (m *kernelOpens) read(r *session.Request, in *fuse.ReadIn, buf []byte) ([]byte, fuse.Status) {
	n := m.resolve(r, in.NodeId)
	if n == nil || n.kind != source.ModeFile {
		return nil, unknown(r)
	}
	if n.plain {
		return m.readPlainNode(r, n, in, buf)
	}
	rec := audit.Open{Event: audit.Decrypted, Begun: time.Now(), Path: n.rel, Hash: n.hash}
	h, status := m.handleOf(n, &rec)
	if status.Ok() {
		lease, err := m.lease(kms.WithCaller(r.Context(), in.Uid), h)
		if err == nil {
			if !lease.Hit() {
				rec.Caller, rec.RequestID, rec.Stale = m.caller(r), lease.Origin(), lease.Stale()
				rec.KeyVersion = lease.Group()
				if status := m.record(&rec, fuse.OK); !status.Ok() {
					lease.Release()
					return nil, status
				}
			}
			m.pages.DropWith(in.NodeId, m.plaintextOf(h), func() time.Duration { return pagesFor(lease) })
			return readResult(r, lease, in), fuse.OK
		}
		rec.Err, status = err, loadStatus(err)
	}
	rec.Caller = m.caller(r)
	status = m.record(&rec, status)
	m.holdBack(r, rec.Begun)
	return nil, status
}

// again is how long a READ that fails takes at least. For an mmap(MAP_POPULATE)
// the kernel reads a page that fails again and again. The time is short beside
// that between two signals which a program gives itself (Go's runtime every
// 10 ms): a page fault during which there is one begins anew, for ever if there
// always is.
const again = 2 * time.Millisecond

// holdBack makes the answer of a failure that cost no time wait a little.
func (m *kernelOpens) holdBack(r *session.Request, begun time.Time) {
	if time.Since(begun) >= again {
		return
	}
	t := time.NewTimer(again)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}

// pagesFor is how long pages of a lease may stay. They go early enough that
// the readers of a busy file show again in time to load it ahead; those of a
// stale plaintext soon, since the service may be back any moment.
func pagesFor(lease *cache.Lease) time.Duration {
	if lease.Stale() {
		return min(lease.Left(), time.Second)
	}
	if d := lease.RefreshIn(); d > 0 {
		return d
	}
	return lease.Left()
}
