package session

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

var quiet = slog.New(slog.DiscardHandler)

// A handler that waits stops nobody: another reader is there before.
func TestBlockedHandlerStopsNobody(t *testing.T) {
	k, b := newFakeKernel(t), newBlocking()
	s, _ := k.serve(b)
	defer k.end(s)
	var waiting []<-chan answer
	for node := range uint64(50) {
		_, answered := k.ask(opGetattr, 100+node, getattr)
		waiting = append(waiting, answered)
		<-b.begun
		if a := k.call(opGetattr, 1, getattr); a.errno != 0 {
			t.Fatalf("beside %d that wait: %v", node+1, a.errno)
		}
	}
	close(b.letGo)
	for i, answered := range waiting {
		if a := k.await(answered); partOf[fuse.AttrOut](t, a).Ino != 100+uint64(i) {
			t.Error("an answer of somebody else's")
		}
	}
	until(t, "one reader is left", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.readers) == maxIdle
	})
	if n := s.journal.head.slots; n > 60 {
		t.Errorf("%d slots were taken: they are not used again", n)
	}
}

// Where the source may be slow, a reader is there before any handler that looks
// into it begins, also one that does not say that it waits.
func TestSlowSourceStopsNobody(t *testing.T) {
	k := newFakeKernel(t)
	hangs, begun := make(chan struct{}), make(chan struct{})
	h := &verbs{getattr: func(r *Request) fuse.Status {
		if r.NodeId != 1 {
			close(begun)
			<-hangs
		}
		return fuse.OK
	}}
	s, _ := k.serveWith(h, &bytes.Buffer{}, false)
	defer k.end(s)
	_, answered := k.ask(opGetattr, 2, getattr)
	<-begun
	if a := k.call(opGetattr, 1, getattr); a.errno != 0 {
		t.Error(a.errno)
	}
	close(hangs)
	k.await(answered)
}

// An interrupt ends the request that it names, and no other; one that nobody is at
// work on is to be sent again.
func TestInterruptEndsItsRequest(t *testing.T) {
	k, b := newFakeKernel(t), newBlocking()
	s, _ := k.serve(b)
	defer k.end(s)
	first, ended := k.ask(opGetattr, 2, getattr)
	<-b.begun
	_, stays := k.ask(opGetattr, 3, getattr)
	<-b.begun
	if a := k.call(opInterrupt, 0, behind(fuse.InterruptIn{Unique: 4444})); a.errno != unix.EAGAIN {
		t.Errorf("of no request: %v", a.errno)
	}
	k.send(opInterrupt, 0, behind(fuse.InterruptIn{Unique: first}))
	if a := k.await(ended); a.errno != unix.EINTR {
		t.Errorf("the interrupted one: %v", a.errno)
	}
	for range 3 { // readers that had an interrupted request before
		if a := k.call(opGetattr, 1, getattr); a.errno != 0 {
			t.Errorf("the next one: %v", a.errno)
		}
	}
	select {
	case a := <-stays:
		t.Errorf("the other one: %v", a.errno)
	default:
	}
	close(b.letGo)
	if a := k.await(stays); a.errno != 0 {
		t.Error(a.errno)
	}
	if k.strays != 0 {
		t.Errorf("%d answers that nobody wanted", k.strays)
	}
}

// lent tells whether an answer had been written when it was released.
type lent struct {
	k       *fakeKernel
	written chan bool
}

func (l lent) Release() {
	n, _, err := unix.Recvfrom(l.k.fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	l.written <- err == nil && n > 0
}

// What an answer is made of is released once the answer has been written, not
// before, and not if it failed later either.
func TestLentIsReleasedAfterTheAnswer(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	j, err := newJournal()
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	l := lent{&fakeKernel{fd: pair[0]}, make(chan bool, 1)}
	h := &verbs{read: func(r *Request, _ *fuse.ReadIn, _ []byte) ([]byte, fuse.Status) {
		r.Lent = l
		return []byte("plaintext, where it lies"), fuse.OK
	}}
	s := &Session{cfg: Config{Handler: h, Log: quiet}, kernel: &kernel{fd: pair[1]}, journal: j}
	r := s.newReader(j.take())
	in := fuse.ReadIn{Size: 100}
	in.Opcode, in.Unique = opRead, 2
	for _, status := range []fuse.Status{fuse.OK, fuse.EIO} {
		r.n = copy(r.slot, bytesOf(&in))
		if status != fuse.OK {
			h.read = func(r *Request, _ *fuse.ReadIn, _ []byte) ([]byte, fuse.Status) {
				r.Lent = l
				return []byte("plaintext"), status
			}
		}
		r.serve()
		if !<-l.written {
			t.Errorf("%v: released before the answer", status)
		}
		buf := make([]byte, 100)
		n, err := unix.Read(pair[0], buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(buf[outHeaderSize:n]); status.Ok() != (got == "plaintext, where it lies") || !status.Ok() && got != "" {
			t.Errorf("%v: answered with %q", status, got)
		}
	}
}

// A panic in a handler is EIO for its request alone. The log has the place, and
// not the value, which may quote what was worked on.
func TestPanicIsAnError(t *testing.T) {
	k := newFakeKernel(t)
	h := &verbs{lookup: func(_ *Request, name string) fuse.Status {
		if name == "bad" {
			panic("a secret")
		}
		return fuse.OK
	}}
	var log lockedBuffer
	s, _ := k.serveWith(h, &log, true)
	defer k.end(s)
	if a := k.call(opLookup, 1, []byte("bad\x00")); a.errno != unix.EIO || len(a.body) != 0 {
		t.Errorf("%v, %q", a.errno, a.body)
	}
	if a := k.call(opLookup, 1, []byte("good\x00")); partOf[fuse.EntryOut](t, a).NodeId != 2 {
		t.Errorf("the next one: %+v", a)
	}
	if said := log.String(); !strings.Contains(said, "internal error") || !strings.Contains(said, "loop_test.go") || strings.Contains(said, "a secret") {
		t.Errorf("log: %s", said)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// With the connection ends every wait, and then the session.
func TestConnectionEndsEveryWait(t *testing.T) {
	k, b := newFakeKernel(t), newBlocking()
	s, _ := k.serve(b)
	for node := range uint64(10) {
		k.ask(opGetattr, 100+node, getattr)
		<-b.begun
	}
	k.end(s)
	s.Restart()
	until(t, "nobody reads", func() bool { return !s.busy() })
	if err := s.InodeNotify(1, 0, 0); err == nil {
		t.Error("a notification on a connection that has ended")
	}
	s.Close()
	if err := s.EntryNotify(1, "x"); err != unix.ENODEV {
		t.Errorf("after Close: %v", err)
	}
}

// Notifications say what is to be dropped, in the kernel's form.
func TestNotificationsSayWhatIsDropped(t *testing.T) {
	k := newFakeKernel(t)
	s, _ := k.serve(&echo{})
	defer k.end(s)
	if err := s.InodeNotify(7, -1, 5); err != nil {
		t.Fatal(err)
	}
	n := <-k.notices
	inode := (*fuse.NotifyInvalInodeOut)(unsafe.Pointer(&n.body[0]))
	if n.code != fuse.NOTIFY_INVAL_INODE || inode.Ino != 7 || inode.Off != -1 || inode.Length != 5 {
		t.Errorf("%d, %+v", n.code, inode)
	}
	if err := s.EntryNotify(8, "name"); err != nil {
		t.Fatal(err)
	}
	n = <-k.notices
	entry := (*fuse.NotifyInvalEntryOut)(unsafe.Pointer(&n.body[0]))
	if name := n.body[unsafe.Sizeof(*entry):]; n.code != fuse.NOTIFY_INVAL_ENTRY || entry.Parent != 8 || entry.NameLen != 4 || string(name) != "name\x00" {
		t.Errorf("%d, %+v, %q", n.code, entry, name)
	}
}

// A request that nobody has asked does not end, and stops nobody.
func TestRequestOfNobodyDoesNotEnd(t *testing.T) {
	var r Request
	r.WillBlock()
	if r.GaveUp() || r.Context().Err() != nil || r.Context().Done() != nil {
		t.Error("it has ended")
	}
	gone := make(chan struct{})
	r.Interrupted = gone
	ctx := r.Context()
	close(gone)
	if !r.GaveUp() || ctx.Err() == nil {
		t.Error("it has not ended")
	}
	if _, ok := ctx.Deadline(); ok || ctx.Value("anything") != nil {
		t.Error("it has what nobody gave it")
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
		t.Error("nobody hears that it has ended")
	}
}
