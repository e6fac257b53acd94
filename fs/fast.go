package fs

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

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

// openFast tells the kernel not to ask.
func (f *FS) openFast(in *fuse.OpenIn) fuse.Status {
	if in.Flags&unix.O_ACCMODE != unix.O_RDONLY || in.Flags&unix.O_TRUNC != 0 {
		return fuse.EROFS
	}
	return fuse.ENOSYS
}

// unfinished tells whether somebody may be in the middle of writing what was
// just looked at, and when it last changed. In open=fast there is no OPEN at
// which a version that does not decrypt could be looked at again, so a young
// file must also be open for writing nowhere.
func (f *FS) unfinished(n *node, c content, err error) (changed int64, busy bool) {
	switch {
	case err == source.ErrTorn:
		return now().UnixNano(), true
	case err != nil:
		return 0, false
	case c.err() != nil:
		return n.tuple.Ctime, true
	}
	return n.tuple.Ctime, f.cfg.Fast && n.kind == source.ModeFile && !n.plain && n.young() && f.source.InWriting(n.rel, n.tuple)
}

// young: a writer may still be at work.
func (n *node) young() bool { return isYoung(n.tuple.Ctime) }

func isYoung(ctime int64) bool { return now().UnixNano()-ctime < int64(writerGraceFor) }

// entryTrust is how long the kernel may take the name of n for granted.
func (f *FS) entryTrust(n *node) time.Duration {
	if !f.trustsNames() || (n.kind == source.ModeFile && !n.plain && n.kept.Load() == nil) {
		return 0
	}
	return nameTrust
}

// trustsNames tells whether names may be trusted at all, after a listing or in
// open=fast: not where any LOOKUP may wait for the key service. Where inotify
// cannot be had they may be, too: for a second.
func (f *FS) trustsNames() bool { return f.cfg.Encoding == kms.Raw || !f.cfg.Fast }

// attrTrust is how long the kernel may trust a file's attributes, and with
// them its pages, without asking.
func (f *FS) attrTrust(n *node) time.Duration {
	if !f.cfg.Fast || n.kind != source.ModeFile {
		return fileAttrTimeout
	}
	if n.plain {
		return nameTrust
	}
	h := n.kept.Load()
	if h == nil {
		return 0
	}
	return min(f.cfg.Cache.Bound(h.key), f.pages.Left(n.id))
}

// readFast serves a page of a node's version.
func (f *FS) readFast(r *session.Request, in *fuse.ReadIn, buf []byte) ([]byte, fuse.Status) {
	n := f.known(r, in.NodeId)
	if n == nil || n.kind != source.ModeFile {
		return nil, unknown(r)
	}
	if n.plain {
		return f.readPlainNode(r, n, in, buf)
	}
	rec := audit.Open{Event: audit.Decrypted, Begun: now(), Path: n.rel, Hash: n.hash}
	h, status := f.handleOf(n, &rec)
	if status.Ok() {
		lease, err := f.lease(kms.WithCaller(r.Context(), in.Uid), h)
		if err == nil {
			if !lease.Hit() {
				rec.Caller, rec.RequestID, rec.Stale = f.caller(r), lease.Origin(), lease.Stale()
				rec.KeyVersion = lease.Group()
				if status := f.record(&rec, fuse.OK); !status.Ok() {
					lease.Release()
					return nil, status
				}
			}
			f.pages.DropWith(in.NodeId, f.plaintextOf(h), func() time.Duration { return pagesFor(lease) })
			return readResult(r, lease, in), fuse.OK
		}
		rec.Err, status = err, loadStatus(err)
	}
	rec.Caller = f.caller(r)
	status = f.record(&rec, status)
	f.holdBack(r, rec.Begun)
	return nil, status
}

// again is how long a READ that fails takes at least. For an mmap(MAP_POPULATE)
// the kernel reads a page that fails again and again. The time is short beside
// that between two signals which a program gives itself (Go's runtime every
// 10 ms): a page fault during which there is one begins anew, for ever if there
// always is.
const again = 2 * time.Millisecond

// holdBack makes the answer of a failure that cost no time wait a little.
func (f *FS) holdBack(r *session.Request, begun time.Time) {
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
	if d := lease.Ages(); d > 0 {
		return d
	}
	return lease.Left()
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
		if h, err = f.handleFor(n.rel, c.kind); err != nil {
			r.Err = err
			return nil, loadStatus(err)
		}
	}
	r.KeyVersion = h.kind.KeyVersion()
	return h, fuse.OK
}

// readPlainNode reads a file that is shown as it is, if it is still the one
// that the node stands for.
func (f *FS) readPlainNode(r *session.Request, n *node, in *fuse.ReadIn, buf []byte) ([]byte, fuse.Status) {
	if !f.cfg.Plain {
		return nil, fuse.EACCES
	}
	fd, st, err := f.source.OpenFile(n.rel)
	if err != nil {
		return nil, sourceStatus(err)
	}
	defer unix.Close(fd)
	if source.TupleOf(&st) != n.tuple {
		return nil, fuse.Status(syscall.ESTALE)
	}
	return f.preadInto(r, fd, in, buf)
}

// learnSize gives a node that nobody has yet the size of its plaintext.
func (f *FS) learnSize(ctx context.Context, n *node, c content) error {
	h, err := f.handleFor(n.rel, c.kind)
	if err != nil {
		return err
	}
	size, err := f.measure(ctx, h)
	if err == nil {
		n.size = f.shownSize(size)
	}
	return err
}
