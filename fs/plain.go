package fs

import (
	"errors"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/fs/source"
)

// Files without the suffix, which are shown as they are. Nothing of them is
// secret, and each open version costs a descriptor.

func plainNode(rel string, st *unix.Stat_t) *node {
	n := &node{rel: rel, kind: source.ModeFile, plain: true, version: version{tuple: source.TupleOf(st), size: st.Size}}
	n.id = nodeID(source.ModeFile, rel, n.tuple, n.hash)
	n.tupleTrusted.Store(n.tuple.IsTrusted())
	return n
}

// openPlain opens a file that is shown as it is.
func (m *checked) openPlain(n *node, tid uint32, retry bool, r *audit.Open, out *fuse.OpenOut) fuse.Status {
	fd, st, err := m.source.OpenFile(n.rel)
	if err == nil {
		out.Fh = plainNode(n.rel, &st).id
	}
	if (err != nil && leadsElsewhere(err) || err == nil && out.Fh != n.id) && !retry && m.staleRetry.remember(tid) {
		if err == nil {
			unix.Close(fd)
		}
		return fuse.Status(syscall.ESTALE)
	}
	if err != nil {
		return sourceStatus(err)
	}
	h := &handle{rel: n.rel, plain: os.NewFile(uintptr(fd), n.rel), uid: r.Caller.UID}
	if err := m.handles.addPlain(out.Fh, h, maxPlain()); err != nil {
		r.Err = errors.New("too many plain files are open, or too many of them by this user")
		return sourceStatus(err)
	}
	return fuse.OK
}

// readPlainNode reads a file that is shown as it is, if it is still the one
// that the node stands for.
func (m *kernelOpens) readPlainNode(r *session.Request, n *node, in *fuse.ReadIn, buf []byte) ([]byte, fuse.Status) {
	if !m.cfg.Plain {
		return nil, fuse.EACCES
	}
	fd, st, err := m.source.OpenFile(n.rel)
	if err != nil {
		return nil, sourceStatus(err)
	}
	defer unix.Close(fd)
	if source.TupleOf(&st) != n.tuple {
		return nil, fuse.Status(syscall.ESTALE)
	}
	return m.preadInto(r, fd, in, buf)
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

// spareDescriptors are for everything but plain files: connections, looks at
// the source, commands for credentials.
const spareDescriptors = 128

// maxPlain is how many plain files may be open. The limit can be changed from
// outside.
func maxPlain() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return int(min(l.Cur, 1<<20)) - spareDescriptors
}
