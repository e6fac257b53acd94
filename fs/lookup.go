package fs

import (
	"context"
	"strings"
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
	parent := f.resolve(r, r.NodeId)
	if parent == nil {
		return unknown(r)
	}
	watched := f.mode.trustsLookup() && f.names.Add(parent.id, parent.rel) // before the look: no change goes unseen
	l, err := f.findWhole(r, parent.rel, name)
	if err != nil {
		f.mode.walkEnds(r.Pid)
	}
	if err == syscall.ENOENT && watched && !f.justChanged(parent) {
		out.SetEntryTimeout(nameTrust) // and no node: there is none
		return fuse.OK
	}
	switch {
	case isOther(err): // in place of the directory, whose name the kernel took for granted
		return f.walkAgain(r)
	case err != nil:
		return sourceStatus(err)
	}
	f.noteSystemd(r, l.node)
	if l.node.size == unknownSize && f.mode.opensAtLookup() {
		end := f.names.Hold(r.NodeId)
		err := f.learnSize(kms.WithCaller(r.Context(), r.Uid), l.node, l.content)
		end()
		if err != nil {
			rec := audit.Open{Event: audit.Opened, Begun: l.seen, Caller: f.caller(r), Path: l.node.rel, Hash: l.content.hash, Err: err}
			rec.KeyVersion = l.content.kind.KeyVersion()
			return f.record(&rec, loadStatus(err)) // there will be no OPEN to record it
		}
	}
	n, status := f.enter(r, l.node, out)
	switch {
	case status == fuse.ENOENT: // a directory that something else has replaced since
		return f.walkAgain(r)
	case !status.Ok():
		return status
	}
	if n.kind == source.ModeDir {
		out.SetEntryTimeout(dirEntryTimeout)
		return fuse.OK
	}
	l.node = n
	out.SetEntryTimeout(f.mode.lookedUp(l, watched))
	return fuse.OK
}

// justChanged: a name that is missing in the directory may be on its way.
// Whoever replaces a file by deleting it first makes the new one soon.
func (f *FS) justChanged(dir *node) bool {
	st, err := f.source.Stat(dir.rel)
	return err != nil || isYoung(st.Ctim.Nano())
}

// looked is what a look at a name has found.
type looked struct {
	node    *node
	content content   // nothing, but for a ciphertext file
	seen    time.Time // when the look began
	busy    bool      // a writer may still be at work
}

// findWhole is find that waits for a file that is being rewritten at this
// moment: bytes that are no ciphertext yet have no size to show.
func (f *FS) findWhole(r *session.Request, dir, name string) (l looked, err error) {
	wait := writerGrace{ctx: context.Background(), begun: time.Now()} // short, and stat knows no EINTR
	for l.seen = wait.begun; ; l.seen = time.Now() {
		var changed int64
		l.node, l.content, err = f.find(dir, name)
		if changed, l.busy = f.unfinished(l.node, l.content, err); !l.busy || !wait.more(changed) {
			return l, err
		}
		r.WillBlock()
	}
}

// unfinished tells whether somebody may be in the middle of writing what was
// just looked at, and when it last changed. Where no OPEN follows, at which a
// version that does not decrypt could be looked at again, a young file must also be
// open for writing nowhere.
func (f *FS) unfinished(n *node, c content, err error) (changed int64, busy bool) {
	switch {
	case err == source.ErrTorn:
		return time.Now().UnixNano(), true
	case err != nil:
		return 0, false
	case c.err() != nil:
		return n.tuple.Ctime, true
	}
	return n.tuple.Ctime, c.kind != nil && f.mode.opensAtLookup() && n.young() && f.source.InWriting(n.rel, n.tuple)
}

// young: a writer may still be at work.
func (n *node) young() bool { return isYoung(n.tuple.Ctime) }

func isYoung(ctime int64) bool { return time.Now().UnixNano()-ctime < int64(writerGraceFor) }

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

// noteSystemd tells of a ciphertext that systemd itself is about to read: the one
// process that the whole machine waits for, should it have to wait.
func (f *FS) noteSystemd(r *session.Request, n *node) {
	if r.Pid == 1 && f.cfg.ReadBySystemd != nil && n.kind == source.ModeFile && !n.plain {
		f.cfg.ReadBySystemd(strings.TrimSuffix(n.rel, source.Suffix))
	}
}
