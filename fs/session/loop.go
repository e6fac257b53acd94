package session

import (
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/mount"
)

// reader is a goroutine that reads and answers. Its message lies in a slot of
// the journal.
type reader struct {
	session *Session
	slot    []byte
	spill   []byte // what does not fit into the slot
	n       int    // length of the message

	out struct {
		head fuse.OutHeader
		body [24]uint64
	}
	size    int    // of the body
	payload []byte // behind the body
	pooled  *[mount.MaxRead]byte
	request Request

	mu          sync.Mutex
	unique      uint64 // the message in work
	interrupted bool
	cancel      chan struct{}
	late        atomic.Bool // interrupted because it had no more time
}

const outHeaderSize = int(unsafe.Sizeof(fuse.OutHeader{}))

// maxIdle readers wait at the same time. With a second one the kernel wakes
// them in turn, each out of a deeper sleep: a fifth slower.
const maxIdle = 1

// buffers are for listings and for files that are shown as they are. No
// plaintext is ever in them.
var buffers = sync.Pool{New: func() any { return new([mount.MaxRead]byte) }}

func (r *reader) buffer(size uint32) []byte {
	if r.pooled == nil {
		r.pooled = buffers.Get().(*[mount.MaxRead]byte)
	}
	return r.pooled[:size]
}

// newReader adds a reader that works in a slot.
func (s *Session) newReader(slot []byte) *reader {
	r := &reader{session: s, slot: slot, spill: make([]byte, messageSize), cancel: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers = append(s.readers, r)
	return r
}

// start adds one that reads. It does nothing when the journal is full: then the
// kernel keeps what else is asked.
func (s *Session) start() {
	slot := s.journal.take()
	if slot == nil {
		return
	}
	r := s.newReader(slot)
	go s.read(r)
}

func (s *Session) read(r *reader) {
	defer s.end(r)
	for s.wait() {
		n, errno := r.fill(s.kernel.fd)
		left := s.idle.Add(-1)
		switch errno {
		case 0:
		case unix.EINTR, unix.EAGAIN, unix.ENOENT: // ENOENT: given up before it was read
			continue
		case unix.ENODEV: // unmounted
			s.cancelAll()
			return
		default:
			s.cfg.Log.Error("the kernel cannot be read from", "error", errno)
			s.cancelAll()
			return
		}
		if n == 0 { // nobody is at the other end, which /dev/fuse does not say like this
			s.cancelAll()
			return
		}
		if r.n = n; n < headerSize {
			continue
		}
		if left == 0 && !r.answersFromMemory() {
			s.start()
		}
		r.serve()
	}
}

// wait counts a reader among those that wait, or tells it to end.
func (s *Session) wait() bool {
	for {
		n := s.idle.Load()
		if n >= maxIdle || s.dead.Load() {
			return false
		}
		if !s.idle.CompareAndSwap(n, n+1) {
			continue
		}
		if s.stopping.Load() {
			s.idle.Add(-1)
			return false
		}
		return true
	}
}

// fill waits for the next message.
func (r *reader) fill(fd int) (int, unix.Errno) {
	n, err := unix.Readv(fd, [][]byte{r.slot[:messageSlot], r.spill})
	if err != nil {
		return 0, err.(unix.Errno)
	}
	return n, 0
}

// answersFromMemory tells of messages that are answered out of memory or a local file
// system's, unless their handler says that it will block. A disk or a network behind the
// source would keep all others waiting.
func (r *reader) answersFromMemory() bool {
	switch op := as[fuse.InHeader](r).Opcode; op {
	case opLookup, opGetattr, opOpen, opRead:
		return r.session.cfg.IsLocal()
	case opRelease, opFlush, opStatfs:
		return true
	default:
		return unanswered(op)
	}
}

// willBlock is called by a handler that is about to wait: from then on somebody
// else reads.
func (s *Session) willBlock() {
	if s != nil && s.idle.Load() == 0 {
		s.start()
	}
}

// unanswered are the messages that want no answer. Those that a predecessor
// left behind mean nothing any more.
func unanswered(op uint32) bool {
	return op == opForget || op == opBatchForget || op == opNotifyReply || op == opInterrupt
}

// serve answers the message in the slot and clears it from the journal.
func (r *reader) serve() {
	h := as[fuse.InHeader](r)
	r.begin(h)
	if r.session.dead.Load() {
		r.cancelIf(h.Unique)
	}
	if h.Pid == firstProcess && r.session.cfg.Systemd {
		defer r.hurry(h)()
	}
	status, wanted := r.guarded()
	r.session.answering.RLock()
	defer r.session.answering.RUnlock()
	if r.session.abandoned {
		return // the message stays in its slot
	}
	if wanted {
		r.send(h.Unique, lateStatus(status, &r.late))
	}
	r.finish()
}

func (r *reader) begin(h *fuse.InHeader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unique = h.Unique
	r.request = Request{InHeader: h, session: r.session, Interrupted: r.cancel, late: &r.late}
}

// guarded turns a panic in a handler into EIO for that request. The value is
// not printed: it might quote what it was working on. The stack holds no
// contents.
func (r *reader) guarded() (status fuse.Status, wanted bool) {
	defer func() {
		if recover() != nil {
			r.session.cfg.Log.Error("internal error while answering the kernel", "stack", string(debug.Stack()))
			status, wanted = fuse.EIO, true
		}
	}()
	return r.dispatch()
}

// send writes the answer. A request that is gone meanwhile is no error, and
// for others there is nobody to tell.
func (r *reader) send(unique uint64, status fuse.Status) {
	size, payload := 0, []byte(nil)
	if status.Ok() {
		size, payload = r.size, r.payload
	}
	r.out.head = fuse.OutHeader{Length: uint32(outHeaderSize + size + len(payload)), Status: -int32(status), Unique: unique}
	fixed := unsafe.Slice((*byte)(unsafe.Pointer(&r.out)), outHeaderSize+size)
	if len(payload) == 0 {
		unix.Write(r.session.kernel.fd, fixed)
	} else {
		unix.Writev(r.session.kernel.fd, [][]byte{fixed, payload})
	}
}

// finish lets go of everything that belonged to the message.
func (r *reader) finish() {
	if r.request.Lent != nil {
		r.request.Lent.Release()
	}
	if r.pooled != nil {
		buffers.Put(r.pooled)
	}
	r.request, r.pooled, r.payload, r.size = Request{}, nil, nil, 0
	r.mu.Lock()
	defer r.mu.Unlock()
	clearSlot(r.slot)
	r.unique = 0
	if r.interrupted {
		r.interrupted, r.cancel = false, make(chan struct{})
		r.late.Store(false)
	}
}

// interrupt tells a request's handler that its caller gave up. It returns
// false when nobody is at work on it.
func (s *Session) interrupt(unique uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.readers, func(r *reader) bool { return r.cancelIf(unique) })
}

func (r *reader) cancelIf(unique uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unique != unique || unique == 0 {
		return false
	}
	if !r.interrupted {
		r.interrupted = true
		atomic.StoreUint64(interruptOf(r.slot), 1)
		close(r.cancel)
	}
	return true
}

// cancelAll ends every wait: nobody is left who could take an answer.
func (s *Session) cancelAll() {
	s.dead.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.readers {
		r.cancelIf(r.inWork())
	}
}

func (r *reader) inWork() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unique
}

func (s *Session) end(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers = slices.DeleteFunc(s.readers, func(o *reader) bool { return o == r })
	s.journal.give(r.slot)
	if len(s.readers) == 0 && s.dead.Load() {
		s.over.Do(func() { close(s.gone) })
	}
}
