package fs

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

const (
	// How long the kernel may trust attributes without asking. A file
	// version's never change (but see attrTrust); a directory's times do.
	fileAttrTimeout = time.Hour
	dirAttrTimeout  = time.Second
	// A directory's name may be trusted for a while: all it leads to are
	// lookups of its files.
	dirEntryTimeout = time.Second
	// nameTrust is how long the kernel may take any other name for granted,
	// also that there is nothing under the name. A change in the source takes
	// that back at once (invalidate.Names); a second bounds what inotify does not see:
	// lost events, a write through an old mapping or another link.
	nameTrust = time.Second
)

// fillAttr writes a node's attributes and returns how long they hold: not at all
// where the size is not known, so that a stat asks for it and an open does not.
func (f *FS) fillAttr(r *session.Request, n *node, a *fuse.Attr) (time.Duration, error) {
	return f.fillAttrAsking(context.Background(), r, n, a, false)
}

func (f *FS) fillAttrAsking(ctx context.Context, r *session.Request, n *node, a *fuse.Attr, ask bool) (time.Duration, error) {
	*a = fuse.Attr{Ino: n.id, Nlink: 1, Blksize: 4096, Owner: fuse.Owner{Uid: f.cfg.UID, Gid: f.cfg.GID}}
	if n.kind == source.ModeDir {
		st, err := f.source.Stat(n.rel)
		if err != nil {
			return 0, err
		}
		if st.Mode&unix.S_IFMT != source.ModeDir {
			return 0, syscall.ENOENT
		}
		a.Mode, a.Nlink, a.Size = source.ModeDir|f.cfg.DirMode, 2, uint64(st.Size)
		setTimes(a, st.Mtim.Nano(), st.Ctim.Nano())
		return dirAttrTimeout, nil
	}
	a.Mode = source.ModeFile | f.cfg.FileMode
	if n.kind == source.ModeLink {
		a.Mode = source.ModeLink | 0o777
	}
	f.pages.Await(n.id, r.WillBlock)
	v := &n.version
	if other := n.shown.Load(); other != nil {
		v = other
	}
	trust := f.mode.attrTrust(n)
	a.Size = uint64(v.size)
	if v.size == unknownSize {
		size, known := f.sizeOf(ctx, n, ask)
		if a.Size = uint64(size); !known {
			trust = 0
		}
	}
	a.Blocks = (a.Size + 511) / 512
	setTimes(a, v.tuple.Mtime, v.tuple.Ctime)
	return trust, nil
}

// setTimes shows the modification time as access time too: when a secret was
// last read is for the log, not for everybody who may stat it.
func setTimes(a *fuse.Attr, mtime, ctime int64) {
	a.Mtime, a.Mtimensec = uint64(mtime/1e9), uint32(mtime%1e9)
	a.Atime, a.Atimensec = a.Mtime, a.Mtimensec
	a.Ctime, a.Ctimensec = uint64(ctime/1e9), uint32(ctime%1e9)
}

// GetAttr answers for exactly the version that was asked about, also when it
// has been replaced: it must never be ESTALE for a known file, for that would
// use up the one retry that the kernel gives an open.
func (f *FS) GetAttr(r *session.Request, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.resolve(r, in.NodeId)
	if n == nil {
		return unknown(r)
	}
	timeout, err := f.fillAttrAsking(kms.WithCaller(r.Context(), in.Uid), r, n, &out.Attr, true)
	switch {
	case n.kind == source.ModeDir && leadsElsewhere(err): // asked for a walk through it, most likely
		return f.walkAgain(r)
	case err != nil:
		return sourceStatus(err)
	}
	out.SetTimeout(timeout)
	return fuse.OK
}

// StatFs reports no blocks at all, so that df shows a dash instead of a full
// disk.
func (f *FS) StatFs(_ *session.Request, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, uint32(source.MaxName)
	return fuse.OK
}
