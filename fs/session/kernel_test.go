package session

import (
	"bytes"
	"cmp"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// fakeKernel stands at the other end of a pair of sockets, which keep messages
// apart like /dev/fuse: it asks, hears answers and notifications, and keeps what
// nobody has read. Its connection outlives sessions.
type fakeKernel struct {
	pid     uint32 // of who asks; 0: 3
	t       *testing.T
	fd      int
	device  *os.File // the session's end
	journal *os.File

	mu      sync.Mutex
	unique  uint64
	asked   map[uint64]chan answer
	strays  int // answers to what was not asked, or was answered before
	notices chan notice
	knows   uint64 // the one file that NOTIFY_RETRIEVE finds; 0: any
}

type answer struct {
	errno unix.Errno
	body  []byte
}

// notice is a notification: its code, and what follows on the header.
type notice struct {
	code int32
	body []byte
}

func newFakeKernel(t *testing.T) *fakeKernel {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	j, err := newJournal()
	if err != nil {
		t.Fatal(err)
	}
	j.unmap()
	k := &fakeKernel{t: t, fd: pair[0], device: os.NewFile(uintptr(pair[1]), "device"), journal: j.file, asked: map[uint64]chan answer{}, notices: make(chan notice, 1000)}
	var hears sync.WaitGroup
	hears.Go(k.hear)
	t.Cleanup(func() {
		unix.Shutdown(k.fd, unix.SHUT_RDWR)
		hears.Wait()
		unix.Close(k.fd)
		k.device.Close()
		k.journal.Close()
	})
	return k
}

// hear takes answers and notifications until the connection ends.
func (k *fakeKernel) hear() {
	buf := make([]byte, 1<<20)
	for {
		n, err := unix.Read(k.fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		h := *(*fuse.OutHeader)(unsafe.Pointer(&buf[0]))
		if int(h.Length) != n {
			k.t.Errorf("a message of %d bytes says that it has %d", n, h.Length)
		}
		body := bytes.Clone(buf[outHeaderSize:n])
		if h.Unique == 0 {
			k.notices <- notice{-h.Status, body}
			if out := (*fuse.NotifyRetrieveOut)(unsafe.Pointer(&buf[outHeaderSize])); -h.Status == fuse.NOTIFY_RETRIEVE_CACHE && (k.knows == 0 || k.knows == out.Nodeid) {
				k.send(opNotifyReply, out.Nodeid, make([]byte, unsafe.Sizeof(fuse.NotifyRetrieveIn{})-unsafe.Sizeof(fuse.InHeader{})))
			}
			continue
		}
		k.mu.Lock()
		wanted := k.asked[h.Unique]
		delete(k.asked, h.Unique)
		if wanted == nil {
			k.strays++
		}
		k.mu.Unlock()
		if wanted != nil {
			wanted <- answer{unix.Errno(-h.Status), body}
		}
	}
}

// send sends a message that wants no answer, or whose answer nobody waits for.
func (k *fakeKernel) send(opcode uint32, node uint64, body []byte) (unique uint64) {
	k.mu.Lock()
	k.unique += 2
	unique = k.unique
	k.mu.Unlock()
	k.write(opcode, node, unique, body)
	return unique
}

func (k *fakeKernel) write(opcode uint32, node, unique uint64, body []byte) {
	h := fuse.InHeader{Length: uint32(headerSize + len(body)), Opcode: opcode, Unique: unique, NodeId: node}
	h.Caller = fuse.Caller{Owner: fuse.Owner{Uid: 1, Gid: 2}, Pid: cmp.Or(k.pid, 3)}
	if _, err := unix.Write(k.fd, append(bytes.Clone(bytesOf(&h)), body...)); err != nil {
		k.t.Errorf("send: %v", err)
	}
}

// ask sends a message; its answer comes on the channel.
func (k *fakeKernel) ask(opcode uint32, node uint64, body []byte) (uint64, <-chan answer) {
	answered := make(chan answer, 1)
	k.mu.Lock()
	k.unique += 2
	unique := k.unique
	k.asked[unique] = answered
	k.mu.Unlock()
	k.write(opcode, node, unique, body)
	return unique, answered
}

// call asks and waits.
func (k *fakeKernel) call(opcode uint32, node uint64, body []byte) answer {
	k.t.Helper()
	_, answered := k.ask(opcode, node, body)
	return k.await(answered)
}

func (k *fakeKernel) await(answered <-chan answer) answer {
	k.t.Helper()
	select {
	case a := <-answered:
		return a
	case <-time.After(20 * time.Second):
		k.t.Fatal("no answer")
		return answer{}
	}
}

// serve begins a session on the connection, as the next process does.
func (k *fakeKernel) serve(h Handler) (s *Session, underWay int) {
	k.t.Helper()
	return k.serveWith(h, io.Discard, true)
}

func (k *fakeKernel) serveWith(h Handler, log io.Writer, local bool) (s *Session, underWay int) {
	k.t.Helper()
	s, err := open(&Lifeline{Device: k.device, Journal: k.journal}, Config{Handler: h, IsLocal: func() bool { return local }, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		k.t.Fatal(err)
	}
	return s, s.Serve()
}

// end ends the connection, and waits until nobody answers on it.
func (k *fakeKernel) end(s *Session) {
	k.t.Helper()
	unix.Shutdown(k.fd, unix.SHUT_RDWR)
	select {
	case <-s.Ended():
	case <-time.After(20 * time.Second):
		k.t.Fatal("the session does not end with its connection")
	}
}

// bytesOf is a message's part as it is in memory.
func bytesOf[T any](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)) }

// behind is a message without its header.
func behind[T any](v T) []byte { return bytes.Clone(bytesOf(&v)[headerSize:]) }

// as of an answer: its fixed part.
func partOf[T any](t *testing.T, a answer) *T {
	t.Helper()
	if a.errno != 0 || len(a.body) < int(unsafe.Sizeof(*new(T))) {
		t.Fatalf("%v and %d bytes", a.errno, len(a.body))
	}
	return (*T)(unsafe.Pointer(&a.body[0]))
}

// until waits for a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for begun := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("never: %s", what)
		}
	}
}

// verbs answer what they have a function for; all else is a panic.
type verbs struct {
	Handler
	getattr func(r *Request) fuse.Status
	read    func(r *Request, in *fuse.ReadIn, buf []byte) ([]byte, fuse.Status)
	lookup  func(r *Request, name string) fuse.Status
	forget  func(id, lookups uint64)
}

func (v *verbs) GetAttr(r *Request, _ *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.Ino = r.NodeId
	return v.getattr(r)
}

func (v *verbs) Read(r *Request, in *fuse.ReadIn, buf []byte) ([]byte, fuse.Status) {
	return v.read(r, in, buf)
}

func (v *verbs) Lookup(r *Request, name string, out *fuse.EntryOut) fuse.Status {
	out.NodeId = r.NodeId + 1
	return v.lookup(r, name)
}

func (v *verbs) Forget(id, lookups uint64) { v.forget(id, lookups) }

// getattr and readOf are bodies of requests.
var getattr = behind(fuse.GetAttrIn{})

func readOf(fh uint64, size uint32) []byte { return behind(fuse.ReadIn{Fh: fh, Size: size}) }

// blocking answers a GETATTR of node 1 at once. One of another node waits until it
// is let go or its caller gives up, and says before that it will.
type blocking struct {
	verbs
	begun chan uint64 // nodes
	letGo chan struct{}
}

func newBlocking() *blocking {
	b := &blocking{begun: make(chan uint64, 1000), letGo: make(chan struct{})}
	b.getattr = func(r *Request) fuse.Status {
		if r.NodeId == 1 {
			return fuse.OK
		}
		b.begun <- r.NodeId
		select {
		case <-b.letGo:
			return fuse.OK
		case <-r.Context().Done():
			return fuse.EINTR
		}
	}
	return b
}
