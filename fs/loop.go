package fs

import (
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/mount"
)

// loop reads what the kernel asks and lets the filesystem answer. A reader
// answers what it has read itself, so that a request costs no hand-off; before
// it waits for anything, another one is started that reads meanwhile. It is
// our own, and not go-fuse's, for three things: a plaintext is written to the
// kernel from where it lies and let go only then, it can be stopped without
// losing a message, and every message lies in the journal until it is
// answered, where a successor finds it.
//
// INVARIANT: unless the loop is stopping or the connection has ended, there is
// a reader that waits, or one that will before it does anything that may
// block.
type loop struct {
	fs      *FS
	kernel  *kernel
	journal *journal

	idle     atomic.Int32 // readers that wait for a message
	stopping atomic.Bool
	dead     atomic.Bool // the connection has ended

	answering sync.RWMutex // read-locked from the answer to the end of what it was made of
	abandoned bool         // a successor answers; guarded by answering

	mu      sync.Mutex
	readers []*reader
	gone    chan struct{} // closed when the connection and the last reader have ended; a later reader reads nothing
	over    sync.Once     // closes gone
}

// reader is a goroutine that reads and answers. Its message lies in a slot of
// the journal.
type reader struct {
	loop  *loop
	slot  []byte
	spill []byte // what does not fit into the slot
	n     int    // length of the message

	out struct {
		head fuse.OutHeader
		body [24]uint64
	}
	size    int             // of the body
	payload [][]byte        // behind the body
	result  fuse.ReadResult // of a READ, in place of a payload
	record  *audit.Open     // of an OPEN, logged behind the opener's back
	pooled  *[mount.MaxRead]byte

	mu          sync.Mutex
	unique      uint64 // the message in work
	interrupted bool
	cancel      chan struct{}
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
func (l *loop) newReader(slot []byte) *reader {
	r := &reader{loop: l, slot: slot, spill: make([]byte, messageSize), cancel: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers = append(l.readers, r)
	return r
}

// start adds one that reads. It does nothing when the journal is full: then the
// kernel keeps what else is asked.
func (l *loop) start() {
	slot := l.journal.take()
	if slot == nil {
		return
	}
	r := l.newReader(slot)
	go l.read(r)
}

func (l *loop) read(r *reader) {
	defer l.end(r)
	for l.wait() {
		n, errno := r.fill(l.kernel.fd)
		left := l.idle.Add(-1)
		switch errno {
		case 0:
		case unix.EINTR, unix.EAGAIN, unix.ENOENT: // ENOENT: given up before it was read
			continue
		case unix.ENODEV: // unmounted
			l.cancelAll()
			return
		default:
			l.fs.cfg.Log.Error("the kernel cannot be read from", "error", errno)
			l.cancelAll()
			return
		}
		if r.n = n; n < headerSize {
			continue
		}
		if left == 0 && !r.brief() {
			l.start()
		}
		r.serve()
	}
}

// wait counts a reader among those that wait, or tells it to end.
func (l *loop) wait() bool {
	for {
		n := l.idle.Load()
		if n >= maxIdle || l.dead.Load() {
			return false
		}
		if !l.idle.CompareAndSwap(n, n+1) {
			continue
		}
		if l.stopping.Load() {
			l.idle.Add(-1)
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

// brief tells of messages that are answered out of memory or a local file
// system's, unless their handler calls cover. A disk or a network behind the
// source would keep all others waiting.
func (r *reader) brief() bool {
	switch op := as[fuse.InHeader](r).Opcode; op {
	case opLookup, opGetattr, opOpen, opRead:
		return r.loop.fs.source.IsLocal()
	case opRelease, opFlush, opStatfs:
		return true
	default:
		return unanswered(op)
	}
}

// cover is called by a handler that is about to wait: from then on somebody
// else reads.
func (l *loop) cover() {
	if l != nil && l.idle.Load() == 0 {
		l.start()
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
	r.begin(h.Unique)
	if r.loop.dead.Load() {
		r.cancelIf(h.Unique)
	}
	status, wanted := r.guarded()
	r.loop.answering.RLock()
	defer r.loop.answering.RUnlock()
	if r.loop.abandoned {
		return // the message stays in its slot
	}
	if wanted {
		r.send(h.Unique, status)
	}
	if r.record != nil {
		r.loop.fs.audit.Opened(r.record, unix.Errno(status))
	}
	r.finish()
}

func (r *reader) begin(unique uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unique = unique
}

// guarded turns a panic in a handler into EIO for that request. The value is
// not printed: it might quote what it was working on. The stack holds no
// contents.
func (r *reader) guarded() (status fuse.Status, wanted bool) {
	defer func() {
		if recover() != nil {
			r.loop.fs.cfg.Log.Error("internal error while answering the kernel", "stack", string(debug.Stack()))
			status, wanted = fuse.EIO, true
		}
	}()
	return r.answer(r.loop.fs)
}

// send writes the answer. A request that is gone meanwhile is no error, and
// for others there is nobody to tell.
func (r *reader) send(unique uint64, status fuse.Status) {
	parts := append(make([][]byte, 0, 4), nil)
	size := 0
	if status.Ok() {
		size = r.size
		parts = append(parts, r.payload...)
		if r.result != nil {
			parts = append(parts, slicesOf(r.result)...)
		}
	}
	length := outHeaderSize + size
	for _, p := range parts[1:] {
		length += len(p)
	}
	r.out.head = fuse.OutHeader{Length: uint32(length), Status: -int32(status), Unique: unique}
	parts[0] = unsafe.Slice((*byte)(unsafe.Pointer(&r.out)), outHeaderSize+size)
	if length == len(parts[0]) {
		unix.Write(r.loop.kernel.fd, parts[0])
	} else {
		unix.Writev(r.loop.kernel.fd, parts)
	}
}

// slicesOf is what a READ found, in place.
func slicesOf(res fuse.ReadResult) [][]byte {
	if s, ok := res.(interface {
		Slices() ([][]byte, fuse.Status)
	}); ok {
		b, _ := s.Slices()
		return b
	}
	b, _ := res.Bytes(nil)
	return [][]byte{b}
}

// finish lets go of everything that belonged to the message.
func (r *reader) finish() {
	if r.result != nil {
		r.result.Done()
	}
	if r.pooled != nil {
		buffers.Put(r.pooled)
	}
	r.result, r.record, r.pooled, r.payload, r.size = nil, nil, nil, r.payload[:0], 0
	r.mu.Lock()
	defer r.mu.Unlock()
	clearSlot(r.slot)
	r.unique = 0
	if r.interrupted {
		r.interrupted, r.cancel = false, make(chan struct{})
	}
}

// interrupt tells a request's handler that its caller gave up. It returns
// false when nobody is at work on it.
func (l *loop) interrupt(unique uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.readers, func(r *reader) bool { return r.cancelIf(unique) })
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
func (l *loop) cancelAll() {
	l.dead.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.readers {
		r.cancelIf(r.inWork())
	}
}

func (r *reader) inWork() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unique
}

func (l *loop) end(r *reader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers = slices.DeleteFunc(l.readers, func(o *reader) bool { return o == r })
	l.journal.give(r.slot)
	if len(l.readers) == 0 && l.dead.Load() {
		l.over.Do(func() { close(l.gone) })
	}
}
