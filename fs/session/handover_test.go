package session

import (
	"bytes"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// files are what the fake kernel knows.
var files = []uint64{11, 12}

// A session that stops wakes its reader by a message of the kernel's, and what is
// asked afterwards waits for the next session.
func TestStopLosesNothing(t *testing.T) {
	k := newFakeKernel(t)
	k.knows = 12
	s, _ := k.serve(&echo{})
	if a := k.call(opGetattr, 1, getattr); a.errno != 0 {
		t.Fatal(a.errno)
	}
	for begun := time.Now(); s.idle.Load() == 0; time.Sleep(time.Millisecond) { // one that has just answered needs no wake-up
		if time.Since(begun) > 20*time.Second {
			t.Fatal("nobody reads")
		}
	}
	if !s.Stop(20*time.Second, files[1:]) {
		t.Fatal("it does not stop")
	}
	if n := <-k.notices; n.code != fuse.NOTIFY_RETRIEVE_CACHE {
		t.Errorf("woken by %d", n.code)
	}
	_, answered := k.ask(opGetattr, 7, getattr)
	time.Sleep(10 * time.Millisecond) // nobody is left who could read it
	if len(s.journal.left()) != 0 {
		t.Error("a session that has stopped has taken a message")
	}
	next, underWay := k.serve(&echo{})
	defer k.end(next)
	if underWay != 0 {
		t.Errorf("%d under way", underWay)
	}
	if a := k.await(answered); partOf[fuse.AttrOut](t, a).Ino != 7 {
		t.Errorf("%+v", a)
	}
}

// What a session cannot answer in time is answered by its successor, and once:
// from a journal that has the request, and whether it was interrupted.
func TestSuccessorAnswersWhatIsUnderWay(t *testing.T) {
	k, old := newFakeKernel(t), newBlocking()
	s, _ := k.serve(old)
	_, answered := k.ask(opGetattr, 2, getattr)
	<-old.begun
	interrupted, gaveUp := k.ask(opGetattr, 3, getattr)
	<-old.begun
	old.getattr = nil
	slots := s.journal.left()
	for _, slot := range slots { // as the kernel's INTERRUPT, which may be read at the very end
		if *uniqueOf(slot) == interrupted {
			*interruptOf(slot) = 1
		}
	}
	if s.Stop(50*time.Millisecond, files) {
		t.Fatal("it has stopped, although its requests wait")
	}
	s.Abandon()
	heir := newBlocking()
	next, underWay := k.serve(heir)
	if underWay != 2 {
		t.Errorf("%d under way", underWay)
	}
	if a := k.await(gaveUp); a.errno != unix.EINTR {
		t.Errorf("the interrupted one: %v", a.errno)
	}
	close(old.letGo) // nobody hears what it answers now
	until(t, "the old session has ended", func() bool { return !s.busy() })
	select {
	case a := <-answered:
		t.Fatalf("answered by a session that was abandoned: %+v", a)
	default:
	}
	close(heir.letGo)
	if a := k.await(answered); partOf[fuse.AttrOut](t, a).Ino != 2 {
		t.Errorf("%+v", a)
	}
	if a := k.call(opGetattr, 1, getattr); a.errno != 0 {
		t.Error(a.errno)
	}
	k.end(next)
	if k.strays != 0 {
		t.Errorf("%d second answers", k.strays)
	}
}

// Of a process that was killed the successor finds every message, byte for byte;
// those that want no answer, and what is none, are forgotten.
func TestSuccessorFindsWhatAKilledOneHadTaken(t *testing.T) {
	k := newFakeKernel(t)
	j, err := openJournal(k.journal)
	if err != nil {
		t.Fatal(err)
	}
	message := func(opcode uint32, unique, node uint64, body []byte) {
		h := fuse.InHeader{Length: uint32(headerSize + len(body)), Opcode: opcode, Unique: unique, NodeId: node}
		copy(j.take(), append(bytes.Clone(bytesOf(&h)), body...))
	}
	j.take() // a reader that waited
	answered := make(chan answer, 1)
	k.asked[1001] = answered
	message(opLookup, 1001, 1, []byte("name\x00"))
	message(opForget, 1003, 7, behind(fuse.ForgetIn{Nlookup: 1}))
	message(opNotifyReply, 1005, 7, nil)
	*uniqueOf(j.take()) = 1007 // cut off
	e := &echo{}
	s, underWay := k.serve(e)
	defer k.end(s)
	if a := k.await(answered); underWay != 1 || partOf[fuse.EntryOut](t, a).NodeId != 77 {
		t.Errorf("%d under way, %+v", underWay, a)
	}
	if called := e.called(); called != "lookup 1/name by 0:0 in 0" {
		t.Errorf("called: %s", called)
	}
	until(t, "the journal is empty", func() bool { return len(j.left()) == 0 })
}

// A predecessor may have died before it answered the first message of all.
func TestSuccessorAnswersTheFirstMessage(t *testing.T) {
	k := newFakeKernel(t)
	j, err := openJournal(k.journal)
	if err != nil {
		t.Fatal(err)
	}
	init := fuse.InitIn{Major: 7, Minor: ourMinor}
	init.Length, init.Opcode, init.Unique = uint32(unsafe.Sizeof(init)), opInit, 1
	copy(j.take(), bytesOf(&init))
	answered := make(chan answer, 1)
	k.asked[1] = answered
	s, _ := k.serve(&echo{})
	defer k.end(s)
	if out := partOf[fuse.InitOut](t, k.await(answered)); out.Minor != ourMinor || s.IsFirst() {
		t.Errorf("%+v", out)
	}
}

// A hand-over that was not possible is taken back: the session reads on.
func TestRestartTakesBackAStop(t *testing.T) {
	k, b := newFakeKernel(t), newBlocking()
	s, _ := k.serve(b)
	defer k.end(s)
	for range 3 {
		_, waits := k.ask(opGetattr, 2, getattr)
		<-b.begun
		if s.Stop(20*time.Millisecond, files) {
			t.Error("it has stopped, although a request waits")
		}
		s.Restart()
		if a := k.call(opGetattr, 1, getattr); a.errno != 0 {
			t.Error(a.errno)
		}
		b.letGo <- struct{}{}
		if a := k.await(waits); a.errno != 0 {
			t.Error(a.errno)
		}
	}
}

// A connection that ends while a successor begins ends the successor in order,
// whichever reader sees it first, and whoever still begins to read.
func TestConnectionEndsDuringTakeOver(t *testing.T) {
	j, err := newJournal()
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	r, device, err := os.Pipe() // it cannot be read from, as one that was aborted
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s, err := open(&Lifeline{Device: device, Journal: j.file}, Config{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	slot := j.take()
	h := (*fuse.InHeader)(unsafe.Pointer(&slot[0]))
	h.Length, h.Opcode, h.Unique, h.NodeId = uint32(unsafe.Sizeof(fuse.InHeader{})), opInterrupt+1, 2, 1
	left := s.journal.left()
	s.start()
	<-s.Ended()
	s.resume(left)
	s.Restart()
	until(t, "nobody reads", func() bool { return !s.busy() })
	s.Close()
}

// Only a descriptor of /dev/fuse is taken over; a pipe's is alive as long as
// somebody is at its other end.
func TestLifelineOfAnotherThingIsRefused(t *testing.T) {
	j, err := newJournal()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	line := &Lifeline{Device: w, Journal: j.file, Source: source}
	if _, err := Inherit(line, Config{Log: quiet}); err == nil || err.Error() != "take over: no descriptor of /dev/fuse" {
		t.Errorf("taken over: %v", err)
	}
	if !line.Alive() {
		t.Error("not alive with somebody at the other end")
	}
	r.Close()
	if line.Alive() {
		t.Error("alive with nobody at the other end")
	}
	line.Close()
	if _, err := w.Write([]byte{0}); err == nil {
		t.Error("not closed")
	}
}
