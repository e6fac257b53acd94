package session

import (
	"bytes"
	"os"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/mount"
)

// What the kernel may send, from linux/fuse.h; the rest is answered ENOSYS,
// and it does not ask again.
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opReadlink    = 5
	opOpen        = 14
	opRead        = 15
	opStatfs      = 17
	opRelease     = 18
	opFlush       = 25
	opInit        = 26
	opOpendir     = 27
	opReaddir     = 28
	opReleasedir  = 29
	opInterrupt   = 36
	opDestroy     = 38
	opNotifyReply = 41
	opBatchForget = 42
	opReaddirplus = 44
)

// The requests that write. The mount is read-only, so the kernel refuses them
// before it asks; EROFS holds should somebody remount it.
const (
	opSetattr         = 4
	opSymlink         = 6
	opMknod           = 8
	opMkdir           = 9
	opUnlink          = 10
	opRmdir           = 11
	opRename          = 12
	opLink            = 13
	opWrite           = 16
	opCreate          = 35
	opFallocate       = 43
	opRename2         = 45
	opCopyFileRange   = 47
	opTmpfile         = 51
	opCopyFileRange64 = 53
)

const (
	protocolMajor = 7
	// minMinor is Linux 4.20's: sizes of messages have not changed since.
	minMinor = 28
	ourMinor = 39
	// maxWrite is the least that the kernel accepts: nobody writes.
	maxWrite = 4096
	// messageSize is the least buffer that the kernel accepts for a request.
	messageSize = 8192
)

const headerSize = int(unsafe.Sizeof(fuse.InHeader{}))

// as is the message as what its opcode says that it is. It is nil if the
// message is too short for that.
func as[T any](r *reader) *T {
	if r.n < int(unsafe.Sizeof(*new(T))) {
		return nil
	}
	return (*T)(unsafe.Pointer(&r.slot[0]))
}

// body is the place for the answer's fixed part, zeroed.
func body[T any](r *reader) *T {
	clear(r.out.body[:])
	r.size = int(unsafe.Sizeof(*new(T)))
	return (*T)(unsafe.Pointer(&r.out.body[0]))
}

// dispatch lets the handler answer one message. It returns false for those that
// want no answer.
func (r *reader) dispatch() (fuse.Status, bool) {
	handler := r.session.cfg.Handler
	switch r.request.Opcode {
	case opForget:
		if in := as[fuse.ForgetIn](r); in != nil {
			handler.Forget(in.NodeId, in.Nlookup)
		}
		return 0, false
	case opBatchForget:
		r.batchForget(handler)
		return 0, false
	case opInterrupt:
		in := as[fuse.InterruptIn](r)
		// EAGAIN: whoever has read that request has not begun with it.
		return fuse.EAGAIN, in != nil && !r.session.interrupt(in.Unique)
	case opNotifyReply:
		return 0, false // somebody wanted to wake a reader
	}
	return r.handle(handler), true
}

func (r *reader) handle(h Handler) (status fuse.Status) {
	q := &r.request
	switch q.Opcode {
	case opLookup:
		if name, ok := r.name(); ok {
			return h.Lookup(q, name, body[fuse.EntryOut](r))
		}
		return fuse.Status(unix.ENAMETOOLONG)
	case opGetattr:
		if in := as[fuse.GetAttrIn](r); in != nil {
			return h.GetAttr(q, in, body[fuse.AttrOut](r))
		}
	case opReadlink:
		r.payload, status = h.Readlink(q)
		return status
	case opOpen:
		if in := as[fuse.OpenIn](r); in != nil {
			return h.Open(q, in, body[fuse.OpenOut](r))
		}
	case opOpendir:
		if in := as[fuse.OpenIn](r); in != nil {
			return h.OpenDir(q, in, body[fuse.OpenOut](r))
		}
	case opRead:
		if in := as[fuse.ReadIn](r); in != nil && in.Size <= mount.MaxRead {
			r.payload, status = h.Read(q, in, r.buffer(in.Size))
			return status
		}
	case opReaddir, opReaddirplus:
		if in := as[fuse.ReadIn](r); in != nil && in.Size <= mount.MaxRead {
			list := h.ReadDir
			if q.Opcode == opReaddirplus {
				list = h.ReadDirPlus
			}
			out := fuse.NewDirEntryList(r.buffer(in.Size), in.Offset)
			status = list(q, in, out)
			r.payload = out.Bytes()
			return status
		}
	case opRelease:
		if in := as[fuse.ReleaseIn](r); in != nil {
			h.Release(q, in)
			return fuse.OK
		}
	case opReleasedir:
		if in := as[fuse.ReleaseIn](r); in != nil {
			h.ReleaseDir(q, in)
			return fuse.OK
		}
	case opFlush:
		if in := as[fuse.FlushIn](r); in != nil {
			return h.Flush(q, in)
		}
	case opStatfs:
		return h.StatFs(q, body[fuse.StatfsOut](r))
	case opInit:
		return r.session.negotiate(r)
	case opDestroy:
		return fuse.OK
	case opSetattr, opSymlink, opMknod, opMkdir, opUnlink, opRmdir, opRename, opRename2, opLink,
		opWrite, opCreate, opFallocate, opCopyFileRange, opCopyFileRange64, opTmpfile:
		return fuse.EROFS
	default:
		return fuse.ENOSYS
	}
	return fuse.EIO // a message that is shorter than its kind
}

// name is the string behind the header. Only one that is too long for a file
// does not fit into the slot.
func (r *reader) name() (string, bool) {
	name, _, ok := bytes.Cut(r.slot[headerSize:min(r.n, messageSlot)], []byte{0})
	return string(name), ok
}

// batchForget: a count and as many pairs of node id and number of lookups.
// The slot ends between two pairs.
func (r *reader) batchForget(h Handler) {
	type batch struct {
		fuse.InHeader
		count, _ uint32
	}
	type pair struct{ id, lookups uint64 }
	in := as[batch](r)
	if in == nil {
		return
	}
	left := in.count
	for _, part := range [][]byte{r.slot[unsafe.Sizeof(*in):min(r.n, messageSlot)], r.spill[:max(0, r.n-messageSlot)]} {
		for ; left > 0 && len(part) >= int(unsafe.Sizeof(pair{})); left-- {
			p := (*pair)(unsafe.Pointer(&part[0]))
			h.Forget(p.id, p.lookups)
			part = part[unsafe.Sizeof(*p):]
		}
	}
}

// negotiate answers INIT, the first message of a connection.
func (s *Session) negotiate(r *reader) fuse.Status {
	type initIn struct { // as old as the kernels that we serve; later ones are longer
		fuse.InHeader
		major, minor, readAhead, flags uint32
	}
	in := as[initIn](r)
	if in == nil || in.major != protocolMajor || in.minor < minMinor {
		s.cfg.Log.Error("this kernel's FUSE is too old; Linux 4.20 or later is needed")
		return fuse.Status(unix.EPROTO)
	}
	offered := uint64(in.flags)
	if long := as[fuse.InitIn](r); long != nil && offered&fuse.CAP_INIT_EXT != 0 {
		offered = long.Flags64()
	}
	accepted := offered & (fuse.CAP_ASYNC_READ | fuse.CAP_BIG_WRITES | fuse.CAP_AUTO_INVAL_DATA | fuse.CAP_READDIRPLUS |
		fuse.CAP_NO_OPEN_SUPPORT | fuse.CAP_PARALLEL_DIROPS | fuse.CAP_MAX_PAGES | fuse.CAP_INIT_EXT |
		// A shared mapping of a file that bypasses the page cache works where
		// the kernel knows this flag (6.6 and later).
		fuse.CAP_DIRECT_IO_ALLOW_MMAP)
	s.journal.negotiated(min(in.minor, ourMinor))
	*body[fuse.InitOut](r) = fuse.InitOut{
		Major: protocolMajor, Minor: min(in.minor, ourMinor),
		MaxReadAhead: in.readAhead, MaxWrite: maxWrite, TimeGran: 1,
		Flags: uint32(accepted), Flags2: uint32(accepted >> 32),
		MaxPages: uint16(mount.MaxRead / os.Getpagesize()),
	}
	return fuse.OK
}
