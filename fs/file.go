package fs

import (
	"context"
	"errors"
	"os"
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

// Open decides everything that can fail: consumers print the errno of a
// failed open, but make something misleading of a failed read. So the
// plaintext is decrypted here, although only READ delivers it. The record is
// logged with the status, once the opener has been answered.
func (f *FS) Open(r *session.Request, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f.cfg.Fast {
		return f.openFast(in)
	}
	if in.Flags&unix.O_ACCMODE != unix.O_RDONLY || in.Flags&unix.O_TRUNC != 0 {
		return fuse.EROFS
	}
	at, retry := f.told.take(in.Pid)
	n := f.openKnown(r, in, retry)
	if n == nil {
		f.told.remember(in.Pid)
		return unknown(r)
	}
	if n.kind != source.ModeFile {
		return fuse.EINVAL
	}
	if n.plain && !f.cfg.Plain {
		return fuse.EACCES // no name leads to such a node; a listing that raced with a rename must not either
	}
	rec := &audit.Open{Event: audit.Opened, Begun: now(), Caller: f.caller(r), Path: n.rel}
	if n.plain {
		return f.opened(rec, out, f.openPlain(n, in.Pid, retry, rec, out))
	}
	o := &opening{FS: f, ctx: kms.WithCaller(r.Context(), in.Uid), node: n, tid: in.Pid, at: at, retry: retry}
	status := o.run(rec)
	if status == fuse.Status(syscall.EBADMSG) && o.ctx.Err() != nil {
		status = fuse.EINTR // the caller gave up before the writer had finished
	}
	out.Fh = o.fh
	return f.opened(rec, out, status)
}

// opened records an OPEN, and then decides: what cannot be recorded is not
// open.
func (f *FS) opened(rec *audit.Open, out *fuse.OpenOut, status fuse.Status) fuse.Status {
	if status == fuse.Status(syscall.ESTALE) {
		return status // the same open(2) comes back at once
	}
	decided := f.record(rec, status)
	if status.Ok() && !decided.Ok() {
		f.handles.release(out.Fh)
	}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return decided
}

// record records what somebody is about to be answered, and returns the answer.
func (f *FS) record(rec *audit.Open, status fuse.Status) fuse.Status {
	rec.Result = syscall.Errno(status)
	if err := f.audit.Record(*rec); err != nil {
		return fuse.EIO
	}
	return status
}

// opening is one OPEN of a ciphertext file.
type opening struct {
	*FS
	ctx  context.Context
	node *node
	tid  uint32
	// retry: this thread was answered ESTALE at that instant.
	retry bool
	at    time.Time
	fh    uint64
}

// run picks the version to serve, decrypts it, and makes the handle.
func (o *opening) run(r *audit.Open) fuse.Status {
	at := o.at
	if !o.retry {
		at = r.Begun.Add(-2 * time.Millisecond) // nobody can be told by an id of 0
	}
	wait := writerGrace{ctx: o.ctx, begun: r.Begun}
	for torn := false; ; {
		look := o.lookFile
		if _, just := o.recent.since(o.node.id, r.Begun.Add(-2*time.Millisecond)); just {
			look = o.lookRegular // LOOKUP has seen what it is
		}
		found, c, err := look(o.node.rel)
		if err == source.ErrTorn && wait.more(time.Now().UnixNano()) {
			continue
		}
		if err != nil {
			if leadsElsewhere(err) {
				if !o.retry && o.told.remember(o.tid) {
					return fuse.Status(syscall.ESTALE)
				}
				if then, ok := o.recent.since(o.node.id, at); o.retry && ok && then.err() == nil {
					return o.open(o.node, then, r) // it was there during this open(2)
				}
			}
			r.Err = err
			return sourceStatus(err)
		}
		serve := found
		if found.id != o.node.id {
			if found.tuple == o.node.tuple {
				o.nodes.distrust(o.node.rel)
			}
			if !o.retry && o.told.remember(o.tid) {
				return fuse.Status(syscall.ESTALE)
			}
			if then, ok := o.recent.since(o.node.id, at); ok && then.err() == nil && !torn {
				serve, c = o.node, then
			}
		}
		status := o.open(serve, c, r)
		if status != fuse.Status(syscall.EBADMSG) || !wait.more(found.tuple.Ctime) {
			return status
		}
		torn = serve == o.node // looked up in the middle of a write: it cannot be served
	}
}

// open decrypts one version and makes its handle.
func (o *opening) open(n *node, c content, r *audit.Open) fuse.Status {
	if r.Err = c.err(); r.Err != nil {
		return fuse.Status(syscall.EBADMSG)
	}
	r.Hash, r.KeyVersion = c.hash, c.kind.KeyVersion()
	h, err := o.handleFor(n.rel, c.kind)
	if err != nil {
		r.Err = err
		return loadStatus(err)
	}
	lease, err := o.lease(o.ctx, h)
	if err != nil {
		r.Err = err
		return loadStatus(err)
	}
	r.RequestID, r.Cached, r.Stale, r.Err = lease.Origin(), lease.Hit(), lease.Stale(), nil
	r.KeyVersion = lease.Group()
	if n != o.node && n.size == unknownSize {
		n.size = int64(len(lease.Bytes())) // n is no node of the kernel's yet
	}
	lease.Release()
	o.handles.add(n.id, h)
	o.fh = n.id
	if n.id != o.node.id && !o.handles.has(o.node.id) {
		// The kernel's inode stands for another version than its handle.
		// Nobody has that one open, so the attributes can follow.
		o.node.shown.Store(&n.version)
		o.pages.ForgetAttr(o.node.id)
	}
	return fuse.OK
}

// leadsElsewhere: something else, or nothing, is where the file was when the
// kernel looked it up. A walk from the root finds what it is.
func leadsElsewhere(err error) bool {
	return err == syscall.ENOENT || err == syscall.EINVAL || err == syscall.ELOOP || err == syscall.ENOTDIR
}

// openPlain opens a file that is shown as it is.
func (f *FS) openPlain(n *node, tid uint32, retry bool, r *audit.Open, out *fuse.OpenOut) fuse.Status {
	fd, st, err := f.source.OpenFile(n.rel)
	if err == nil {
		out.Fh = plainNode(n.rel, &st).id
	}
	if (err != nil && leadsElsewhere(err) || err == nil && out.Fh != n.id) && !retry && f.told.remember(tid) {
		if err == nil {
			unix.Close(fd)
		}
		return fuse.Status(syscall.ESTALE)
	}
	if err != nil {
		return sourceStatus(err)
	}
	h := &handle{rel: n.rel, plain: os.NewFile(uintptr(fd), n.rel), uid: r.Caller.UID}
	if err := f.handles.addPlain(out.Fh, h, maxPlain()); err != nil {
		r.Err = errors.New("too many plain files are open, or too many of them by this user")
		return sourceStatus(err)
	}
	return fuse.OK
}

// Read serves from the handle's own version. Past its TTL that is a new call
// to the key service.
func (f *FS) Read(r *session.Request, in *fuse.ReadIn, buf []byte) ([]byte, fuse.Status) {
	if f.cfg.Fast {
		return f.readFast(r, in, buf)
	}
	h := f.handles.get(in.Fh)
	if h == nil {
		h = f.reopen(r, in)
	}
	if h == nil {
		return nil, unknown(r)
	}
	if h.plain != nil {
		return f.preadInto(r, int(h.plain.Fd()), in, buf)
	}
	begun := now()
	lease, err := f.lease(kms.WithCaller(r.Context(), in.Uid), h)
	if err != nil {
		return nil, f.record(&audit.Open{Event: audit.Reread, Begun: begun, Caller: f.caller(r), Path: h.rel, Err: err}, loadStatus(err))
	}
	switch {
	case in.ReadFlags&fuse.READ_LOCKOWNER != 0: // past the page cache: only such a READ has an owner
	case in.Fh != in.NodeId:
		f.pages.DropAt(in.NodeId, f.plaintextOf(h), 0) // another version than the inode's: no page of it may meet one of a third
	default:
		f.pages.DropWith(in.NodeId, f.plaintextOf(h), func() time.Duration { return min(lease.Left(), strayTrust) })
	}
	return readResult(r, lease, in), fuse.OK
}

// strayTrust is how long pages may stay in open=checked, where only mappings,
// sendfile and splice make any: neither asks anybody before it uses one again,
// so those that are left when this process is killed may be used for ever.
const strayTrust = time.Second

// readResult is the part of a leased plaintext that a READ asks for. The lease is
// the request's from now on.
func readResult(r *session.Request, lease *cache.Lease, in *fuse.ReadIn) []byte {
	r.Lent = lease
	plaintext := lease.Bytes()
	if in.Offset >= uint64(len(plaintext)) {
		return nil
	}
	return plaintext[in.Offset:min(in.Offset+uint64(in.Size), uint64(len(plaintext)))]
}

// preadInto answers a READ of a file that is shown as it is.
func (f *FS) preadInto(r *session.Request, fd int, in *fuse.ReadIn, buf []byte) ([]byte, fuse.Status) {
	r.WillBlock() // no plaintext: as slow as the disk
	n, err := unix.Pread(fd, buf[:min(len(buf), int(in.Size))], int64(in.Offset))
	if err != nil {
		return nil, sourceStatus(err)
	}
	return buf[:n], fuse.OK
}

// Flush has nothing to do. ENOSYS tells the kernel not to ask again, which
// saves a round trip at every close.
func (f *FS) Flush(*session.Request, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Release drops the ciphertext of a version that nobody has open any more.
func (f *FS) Release(_ *session.Request, in *fuse.ReleaseIn) { f.handles.release(in.Fh) }

// caller is who sent a request, for its record.
func (f *FS) caller(r *session.Request) audit.Caller { return f.audit.Caller(r.Uid, r.Gid, r.Pid) }
