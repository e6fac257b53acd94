package fs

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/session"
)

// mode is who opens files, we or the kernel, and what it may believe without
// asking: two verbs, and questions that have one answer in each mode. It is chosen
// once.
type mode interface {
	open(r *session.Request, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status
	read(r *session.Request, in *fuse.ReadIn, buf []byte) ([]byte, fuse.Status)

	// opensAtLookup says that no OPEN follows on a LOOKUP. So a LOOKUP finds out
	// the size, waits for a writer, and keeps the ciphertext with the node.
	opensAtLookup() bool
	// trustsNames says that the kernel may trust names at all.
	trustsNames() bool
	// trustsLookup says that it may do so after a LOOKUP, too.
	trustsLookup() bool
	// lookedUp is how long it may take the name of what a LOOKUP has found for
	// granted, if changes of the directory are pushed.
	lookedUp(l looked, pushed bool) time.Duration
	// listed is that of a name in a listing.
	listed(n *node) time.Duration
	// attrTrust is how long it may trust a file's attributes, and with them its
	// pages.
	attrTrust(n *node) time.Duration
	// walksAgain is told that a thread is answered ESTALE: the kernel walks the
	// path again, once, within the same call.
	walksAgain(tid uint32)
	// walkEnds is told that a walk of a thread has ended with an error: no OPEN
	// follows in that call.
	walkEnds(tid uint32)
	// shownSize is the st_size of a file that holds so many bytes.
	shownSize(size int64) int64
}

// newMode chooses.
func newMode(f *FS, fast bool) mode {
	if fast {
		return &kernelOpens{FS: f}
	}
	return &checked{FS: f, staleRetry: newStaleRetry(time.Second), staleWalk: newStaleRetry(50 * time.Millisecond)}
}

// Open decides everything that can fail, where the kernel asks us.
func (f *FS) Open(r *session.Request, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return f.mode.open(r, in, out)
}

// Read delivers a part of a plaintext, or of a file that is shown as it is.
func (f *FS) Read(r *session.Request, in *fuse.ReadIn, buf []byte) ([]byte, fuse.Status) {
	return f.mode.read(r, in, buf)
}

// readsOnly tells whether an OPEN asks for nothing that changes a file.
func readsOnly(in *fuse.OpenIn) bool {
	return in.Flags&unix.O_ACCMODE == unix.O_RDONLY && in.Flags&unix.O_TRUNC == 0
}

// record records what somebody is about to be answered, and returns the answer.
func (f *FS) record(rec *audit.Open, status fuse.Status) fuse.Status {
	rec.Result = syscall.Errno(status)
	if err := f.audit.Record(*rec); err != nil {
		return fuse.EIO
	}
	return status
}

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

// Flush has nothing to do. ENOSYS tells the kernel not to ask again, which
// saves a round trip at every close.
func (f *FS) Flush(*session.Request, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Release drops the ciphertext of a version that nobody has open any more.
func (f *FS) Release(_ *session.Request, in *fuse.ReleaseIn) { f.handles.release(in.Fh) }

// caller is who sent a request, for its record.
func (f *FS) caller(r *session.Request) audit.Caller { return f.audit.Caller(r.Uid, r.Gid, r.Pid) }
