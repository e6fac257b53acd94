package fs

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// Lookup finds a shown name. For a ciphertext file it reads the bytes, since
// they are part of the node's identity, and keeps what they are for the OPEN
// that often follows. Bytes of a file that is being rewritten at this moment
// and are no ciphertext yet have no size to show, so it waits for them.
func (f *FS) Lookup(r *session.Request, name string, out *fuse.EntryOut) fuse.Status {
	parent := f.known(r, r.NodeId)
	if parent == nil {
		return unknown(r)
	}
	watched := f.watched(parent) // before the look: no change goes unseen
	n, c, seen, busy, err := f.findWhole(r, parent.rel, name)
	if err == syscall.ENOENT && watched && !f.justChanged(parent) {
		out.SetEntryTimeout(nameTrust) // and no node: there is none
		return fuse.OK
	}
	if err != nil {
		return sourceStatus(err)
	}
	if n.size == unknownSize && f.cfg.Fast { // there will be no OPEN that decrypts
		end := f.names.Hold(r.NodeId)
		err := f.learnSize(kms.WithCaller(r.Context(), r.Uid), n, c)
		end()
		if err != nil {
			// There will be no OPEN to record it.
			return f.record(&audit.Open{Event: audit.Opened, Begun: seen, Caller: f.caller(r), Path: n.rel, Hash: c.hash, KeyVersion: c.kind.KeyVersion(), Err: err},
				loadStatus(err))
		}
	}
	n, status := f.enter(r, n, out)
	if !status.Ok() {
		return status
	}
	switch {
	case n.kind == source.ModeDir:
		out.SetEntryTimeout(dirEntryTimeout)
	case f.cfg.Fast:
		if !busy {
			out.SetEntryTimeout(f.entryTrust(n))
		}
	default:
		if n.kind == source.ModeFile && !n.plain {
			f.recent.keep(n.id, seen, c)
		}
		if watched && !busy && !n.young() {
			out.SetEntryTimeout(nameTrust)
		}
	}
	return fuse.OK
}

// watched tells whether every change of a directory's names is seen from now
// on, and pushed. In open=fast names are trusted also where inotify may not
// see all.
func (f *FS) watched(dir *node) bool {
	return (f.cfg.Fast || f.source.IsLocal()) && f.names.Add(dir.id, dir.rel)
}

// justChanged: a name that is missing in the directory may be on its way.
// Whoever replaces a file by deleting it first makes the new one soon.
func (f *FS) justChanged(dir *node) bool {
	st, err := f.source.Stat(dir.rel)
	return err != nil || isYoung(st.Ctim.Nano())
}

// findWhole is find that waits for a file that is being rewritten at this
// moment: bytes that are no ciphertext yet have no size to show. seen is when
// the last look began, and busy says that a writer may still be at work.
func (f *FS) findWhole(r *session.Request, dir, name string) (n *node, c content, seen time.Time, busy bool, err error) {
	wait := writerGrace{ctx: context.Background(), begun: now()} // short, and stat knows no EINTR
	for seen = wait.begun; ; seen = now() {
		var changed int64
		n, c, err = f.find(dir, name)
		if changed, busy = f.unfinished(n, c, err); !busy || !wait.more(changed) {
			return n, c, seen, busy, err
		}
		r.WillBlock()
	}
}

// enter hands a node to the kernel: a reference and its attributes, with no
// trust in the name. A directory may be gone by now.
func (f *FS) enter(r *session.Request, n *node, out *fuse.EntryOut) (*node, fuse.Status) {
	var a fuse.Attr
	timeout, err := f.fillAttr(r, n, &a)
	if err != nil {
		return nil, sourceStatus(err)
	}
	rel := n.rel
	if n = f.nodes.adopt(n); n == nil {
		f.cfg.Log.Error("two files share one node id; one of them cannot be shown", "path", audit.Printable(rel))
		return nil, fuse.EIO
	}
	out.NodeId, out.Generation, out.Attr = n.id, 1, a
	out.SetAttrTimeout(timeout)
	return n, fuse.OK
}

// Forget drops references. It does no I/O.
func (f *FS) Forget(id, lookups uint64) {
	f.nodes.forget(id, lookups)
	if f.resumed {
		f.handles.forget(id)
	}
}
