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

// checked is the mode in which each open(2) asks us. Consumers print the errno of
// a failed open, but make something misleading of a failed read; so the plaintext
// is decrypted at OPEN, although only READ delivers it.
type checked struct {
	*FS
	looked     lookups
	staleRetry staleRetry // threads that were answered ESTALE at OPEN
	staleWalk  staleRetry // before it, in an open(2) or in any other call
}

func (m *checked) opensAtLookup() bool           { return false }
func (m *checked) trustsNames() bool             { return true }
func (m *checked) trustsLookup() bool            { return m.source.IsLocal() } // there inotify sees all
func (m *checked) listed(*node) time.Duration    { return nameTrust }
func (m *checked) attrTrust(*node) time.Duration { return fileAttrTimeout }
func (m *checked) shownSize(size int64) int64    { return size }

func (m *checked) walksAgain(tid uint32) { m.staleWalk.remember(tid) }
func (m *checked) walkEnds(tid uint32)   { m.staleRetry.take(tid) }

func (m *checked) lookedUp(l looked, pushed bool) time.Duration {
	if l.content.kind != nil {
		m.looked.keep(l)
	}
	if !pushed || l.busy || l.node.young() {
		return 0
	}
	return nameTrust
}

func (m *checked) open(r *session.Request, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if !readsOnly(in) {
		return fuse.EROFS
	}
	at, retry := m.staleRetry.take(in.Pid)
	_, walked := m.staleWalk.take(in.Pid)
	n := m.resolveSoon(r, in, retry)
	if n == nil {
		m.staleRetry.remember(in.Pid)
		return unknown(r)
	}
	if n.kind != source.ModeFile {
		return fuse.EINVAL
	}
	if n.plain && !m.cfg.Plain {
		return fuse.EACCES // no name leads to such a node; a listing that raced with a rename must not either
	}
	m.noteSystemd(r, n)
	rec := &audit.Open{Event: audit.Opened, Begun: time.Now(), Caller: m.caller(r), Path: n.rel}
	if n.plain {
		return m.opened(rec, out, m.openPlain(n, in.Pid, retry, rec, out))
	}
	if !retry {
		at = rec.Begun.Add(-unrecognised)
	}
	o := &opening{checked: m, ctx: kms.WithCaller(r.Context(), in.Uid), node: n, tid: in.Pid, at: at, retry: retry, walked: walked}
	status := o.run(rec)
	if status == fuse.Status(syscall.EBADMSG) && o.ctx.Err() != nil {
		status = fuse.EINTR // the caller gave up before the writer had finished
	}
	out.Fh = o.fh
	return m.opened(rec, out, status)
}

// opened records an OPEN, and then decides: what cannot be recorded is not
// open.
func (m *checked) opened(rec *audit.Open, out *fuse.OpenOut, status fuse.Status) fuse.Status {
	if status == fuse.Status(syscall.ESTALE) {
		return status // the same open(2) comes back at once
	}
	decided := m.record(rec, status)
	if status.Ok() && !decided.Ok() {
		m.handles.release(out.Fh)
	}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return decided
}

// opening is one OPEN of a ciphertext file.
type opening struct {
	*checked
	ctx  context.Context
	node *node
	tid  uint32
	// retry: this thread was answered ESTALE, at that instant.
	retry bool
	at    time.Time
	// walked: it was so a moment ago on its way, perhaps in this open(2): then the
	// kernel walks no third time.
	walked bool
	fh     uint64
}

// unrecognised: a caller from another pid namespace has thread id 0. We cannot
// recognise its second OPEN, so this much before the OPEN stands in for the instant
// of its ESTALE.
const unrecognised = 2 * time.Millisecond

// choice is which version an OPEN serves.
type choice int

const (
	current  choice = iota // the source has what the node stands for
	firstTry               // it has not: ESTALE makes the kernel walk the path again
	lookedUp               // it had, during this open(2): the LOOKUP's bytes are served
	pinned                 // no walk leads to a newer node: the source's are, through this one
	gone                   // there is nothing to serve
)

// run picks the version to serve, decrypts it, and makes the handle.
func (o *opening) run(r *audit.Open) fuse.Status {
	wait := writerGrace{ctx: o.ctx, begun: r.Begun}
	for torn := false; ; {
		found, c, err := o.lookRegular(o.node.rel) // LOOKUP has seen what it is, a second ago at most
		if err == source.ErrTorn && wait.more(time.Now().UnixNano()) {
			continue
		}
		serve := found
		choice, then := o.choose(found, err, torn)
		switch choice {
		case gone:
			r.Err = err
			return sourceStatus(err)
		case firstTry:
			return fuse.Status(syscall.ESTALE)
		case lookedUp:
			serve, c = o.node, then
		}
		status := o.serve(serve, c, r)
		if found == nil {
			found = o.node
		}
		if status != fuse.Status(syscall.EBADMSG) || !wait.more(found.tuple.Ctime) {
			return status
		}
		torn = serve == o.node
	}
}

// choose judges what was found. torn says that the LOOKUP's bytes are those of a
// write that had not ended: they cannot be served.
func (o *opening) choose(found *node, err error, torn bool) (choice, content) {
	switch {
	case err == nil && found.id == o.node.id:
		return current, content{}
	case err != nil && !leadsElsewhere(err):
		return gone, content{}
	case err == nil && found.tuple == o.node.tuple:
		o.nodes.distrust(o.node.rel)
	}
	if !o.retry && (!o.walked || err != nil) && o.staleRetry.remember(o.tid) {
		return firstTry, content{}
	}
	then, ok := o.looked.since(o.node.id, o.at)
	switch {
	case ok && !o.walked && then.err() == nil && !torn && (err == nil || o.retry):
		return lookedUp, then
	case err == nil:
		return pinned, content{}
	}
	return gone, content{}
}

// serve decrypts one version and makes its handle.
func (o *opening) serve(n *node, c content, r *audit.Open) fuse.Status {
	if r.Err = c.err(); r.Err != nil {
		return fuse.Status(syscall.EBADMSG)
	}
	r.Hash, r.KeyVersion = c.hash, c.kind.KeyVersion()
	h, err := o.handleFor(n.rel, c)
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

// read serves from the handle's own version. Past its TTL that is a new call to
// the key service.
func (m *checked) read(r *session.Request, in *fuse.ReadIn, buf []byte) ([]byte, fuse.Status) {
	h := m.handles.get(in.Fh)
	if h == nil {
		h = m.reopen(r, in)
	}
	if h == nil {
		return nil, unknown(r)
	}
	if h.plain != nil {
		return m.preadInto(r, int(h.plain.Fd()), in, buf)
	}
	begun := time.Now()
	lease, err := m.lease(kms.WithCaller(r.Context(), in.Uid), h)
	if err != nil {
		return nil, m.record(&audit.Open{Event: audit.Reread, Begun: begun, Caller: m.caller(r), Path: h.rel, Err: err}, loadStatus(err))
	}
	switch {
	case in.ReadFlags&fuse.READ_LOCKOWNER != 0: // past the page cache: only such a READ has an owner
	case in.Fh != in.NodeId:
		m.pages.DropAt(in.NodeId, m.plaintextOf(h), 0) // another version than the inode's: no page of it may meet one of a third
	default:
		m.pages.DropWith(in.NodeId, m.plaintextOf(h), func() time.Duration { return min(lease.Left(), strayTrust) })
	}
	return readResult(r, lease, in), fuse.OK
}

// strayTrust is how long pages may stay in open=checked, where only mappings,
// sendfile and splice make any: neither asks anybody before it uses one again,
// so those that are left when this process is killed may be used for ever.
const strayTrust = time.Second
