package session

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// echo has an answer for each verb that tells what it was asked.
type echo struct {
	mu    sync.Mutex
	calls []string
}

func (e *echo) call(format string, a ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, fmt.Sprintf(format, a...))
}

// called returns what was called since it was last asked.
func (e *echo) called() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := strings.Join(e.calls, ", ")
	e.calls = nil
	return all
}

func (e *echo) Lookup(r *Request, name string, out *fuse.EntryOut) fuse.Status {
	e.call("lookup %d/%s by %d:%d in %d", r.NodeId, name, r.Uid, r.Gid, r.Pid)
	out.NodeId = 77
	return fuse.OK
}

func (e *echo) Forget(id, lookups uint64) { e.call("forget %d×%d", id, lookups) }

func (e *echo) GetAttr(_ *Request, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	e.call("getattr %d", in.NodeId)
	out.Ino = in.NodeId
	return fuse.OK
}

func (e *echo) Readlink(r *Request) ([]byte, fuse.Status) {
	e.call("readlink %d", r.NodeId)
	return []byte("target"), fuse.OK
}

func (e *echo) Open(_ *Request, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	e.call("open %d flags %d", in.NodeId, in.Flags)
	out.Fh = 5
	return fuse.OK
}

func (e *echo) Read(_ *Request, in *fuse.ReadIn, buf []byte) ([]byte, fuse.Status) {
	e.call("read %d of %d at %d", in.Size, in.Fh, in.Offset)
	for i := range buf {
		buf[i] = byte(i)
	}
	return buf, fuse.OK
}

func (e *echo) Flush(_ *Request, in *fuse.FlushIn) fuse.Status {
	e.call("flush %d", in.Fh)
	return fuse.ENOSYS
}

func (e *echo) Release(_ *Request, in *fuse.ReleaseIn) { e.call("release %d", in.Fh) }

func (e *echo) OpenDir(_ *Request, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	e.call("opendir %d", in.NodeId)
	out.Fh = 6
	return fuse.OK
}

func (e *echo) ReadDir(_ *Request, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	e.call("readdir %d at %d", in.Fh, in.Offset)
	out.AddDirEntry(fuse.DirEntry{Name: "name", Ino: 9, Mode: unix.S_IFREG})
	return fuse.OK
}

func (e *echo) ReadDirPlus(_ *Request, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	e.call("readdirplus %d at %d", in.Fh, in.Offset)
	if slot := out.AddDirLookupEntry(fuse.DirEntry{Name: "name", Ino: 9, Mode: unix.S_IFREG}); slot != nil {
		slot.NodeId = 9
	}
	return fuse.OK
}

func (e *echo) ReleaseDir(_ *Request, in *fuse.ReleaseIn) { e.call("releasedir %d", in.Fh) }

func (e *echo) StatFs(_ *Request, out *fuse.StatfsOut) fuse.Status {
	e.call("statfs")
	out.NameLen = 255
	return fuse.OK
}

// Each message reaches its verb, with its caller, and the answer is what the verb
// has filled in.
func TestEachMessageReachesItsVerb(t *testing.T) {
	k, e := newFakeKernel(t), &echo{}
	s, _ := k.serve(e)
	defer k.end(s)
	for _, c := range []struct {
		opcode uint32
		node   uint64
		body   []byte
		call   string
		size   uintptr // of the answer
		holds  string
	}{
		{opLookup, 1, []byte("name\x00"), "lookup 1/name by 1:2 in 3", unsafe.Sizeof(fuse.EntryOut{}), string([]byte{77, 0, 0, 0})},
		{opGetattr, 7, getattr, "getattr 7", unsafe.Sizeof(fuse.AttrOut{}), ""},
		{opReadlink, 8, nil, "readlink 8", 6, "target"},
		{opOpen, 7, behind(fuse.OpenIn{Flags: 4}), "open 7 flags 4", unsafe.Sizeof(fuse.OpenOut{}), string([]byte{5, 0, 0, 0})},
		{opRead, 7, behind(fuse.ReadIn{Fh: 5, Offset: 3, Size: 4}), "read 4 of 5 at 3", 4, "\x00\x01\x02\x03"},
		{opRead, 7, behind(fuse.ReadIn{Fh: 5, Size: 0}), "read 0 of 5 at 0", 0, ""},
		{opRelease, 7, behind(fuse.ReleaseIn{Fh: 5}), "release 5", 0, ""},
		{opOpendir, 1, behind(fuse.OpenIn{}), "opendir 1", unsafe.Sizeof(fuse.OpenOut{}), ""},
		{opReaddir, 1, behind(fuse.ReadIn{Fh: 6, Size: 4096, Offset: 2}), "readdir 6 at 2", 32, "name"},
		{opReaddirplus, 1, behind(fuse.ReadIn{Fh: 6, Size: 4096}), "readdirplus 6 at 0", unsafe.Sizeof(fuse.EntryOut{}) + 32, "name"},
		{opReleasedir, 1, behind(fuse.ReleaseIn{Fh: 6}), "releasedir 6", 0, ""},
		{opStatfs, 1, nil, "statfs", unsafe.Sizeof(fuse.StatfsOut{}), ""},
		{opDestroy, 1, nil, "", 0, ""},
	} {
		a := k.call(c.opcode, c.node, c.body)
		if a.errno != 0 || len(a.body) != int(c.size) || !bytes.Contains(a.body, []byte(c.holds)) {
			t.Errorf("%s: %v, %d bytes %q, want %d with %q", c.call, a.errno, len(a.body), a.body, c.size, c.holds)
		}
		if called := e.called(); called != c.call {
			t.Errorf("called: %s; want %s", called, c.call)
		}
	}
	if a := k.call(opFlush, 7, behind(fuse.FlushIn{Fh: 5})); a.errno != unix.ENOSYS || len(a.body) != 0 {
		t.Errorf("an error with a body: %+v", a)
	}
}

// What cannot be is answered with an error, and no verb is called: messages that
// are shorter than their kind, names that no file has, what writes, and what was
// never heard of.
func TestWhatCannotBeIsRefused(t *testing.T) {
	k, e := newFakeKernel(t), &echo{}
	s, _ := k.serve(e)
	defer k.end(s)
	refused := func(want unix.Errno, opcode uint32, body []byte) {
		t.Helper()
		if a := k.call(opcode, 1, body); a.errno != want || len(a.body) != 0 {
			t.Errorf("opcode %d with %d bytes: %v and %d bytes, want %v", opcode, len(body), a.errno, len(a.body), want)
		}
	}
	for _, opcode := range []uint32{opGetattr, opOpen, opOpendir, opRead, opReaddir, opReaddirplus, opRelease, opReleasedir, opFlush} {
		refused(unix.EIO, opcode, nil)
		refused(unix.EIO, opcode, []byte{1, 2, 3})
	}
	for _, opcode := range []uint32{opRead, opReaddir, opReaddirplus} {
		refused(unix.EIO, opcode, readOf(1, 1<<31)) // more than there is room for
	}
	refused(unix.ENAMETOOLONG, opLookup, bytes.Repeat([]byte("n"), 1000))
	refused(unix.ENAMETOOLONG, opLookup, []byte("without an end"))
	for _, opcode := range []uint32{opSetattr, opSymlink, opMknod, opMkdir, opUnlink, opRmdir, opRename, opLink, opWrite, opCreate, opFallocate, opRename2, opCopyFileRange, opTmpfile, opCopyFileRange64} {
		refused(unix.EROFS, opcode, nil)
	}
	for _, opcode := range []uint32{0, 22, 39, 40, 46, 999, 1 << 31} {
		refused(unix.ENOSYS, opcode, make([]byte, 8000))
	}
	if called := e.called(); called != "" {
		t.Errorf("called: %s", called)
	}
}

// FORGET wants no answer, one by one or as many as a message can hold.
func TestForgetIsNotAnswered(t *testing.T) {
	k, e := newFakeKernel(t), &echo{}
	s, _ := k.serve(e)
	defer k.end(s)
	k.send(opForget, 7, behind(fuse.ForgetIn{Nlookup: 3}))
	pairs := (messageSize - headerSize - 8) / 16 // beyond the slot
	batch := []uint64{uint64(pairs)}
	var want []string
	for i := range pairs {
		batch = append(batch, uint64(1000+i), 1)
		want = append(want, fmt.Sprintf("forget %d×1", 1000+i))
	}
	k.send(opBatchForget, 0, unsafe.Slice((*byte)(unsafe.Pointer(&batch[0])), 8*len(batch)))
	lies := []uint64{9, 1, 1} // nine, of which one is there
	k.send(opBatchForget, 0, unsafe.Slice((*byte)(unsafe.Pointer(&lies[0])), 8*len(lies)))
	k.send(opForget, 7, nil)
	k.call(opStatfs, 1, nil)
	want = slices.Concat([]string{"forget 7×3"}, want, []string{"forget 1×1", "statfs"})
	if called := e.called(); called != strings.Join(want, ", ") {
		t.Errorf("called %d times: %.200s", strings.Count(called, ",")+1, called)
	}
	if k.strays != 0 {
		t.Errorf("%d answers that nobody wanted", k.strays)
	}
}

// The first message agrees on what both know. A kernel that is too old is refused;
// an older one than ours gets no more than it offered.
func TestNegotiationAgreesOnWhatBothKnow(t *testing.T) {
	k, e := newFakeKernel(t), &echo{}
	s, _ := k.serve(e)
	defer k.end(s)
	if !s.IsFirst() {
		t.Error("somebody has answered before the first message")
	}
	for _, old := range []fuse.InitIn{{Major: 7, Minor: minMinor - 1}, {Major: 6, Minor: 40}} {
		if a := k.call(opInit, 0, behind(old)); a.errno != unix.EPROTO {
			t.Errorf("%d.%d: %v", old.Major, old.Minor, a.errno)
		}
	}
	if a := k.call(opInit, 0, nil); a.errno != unix.EPROTO {
		t.Errorf("an empty one: %v", a.errno)
	}
	if !s.IsFirst() {
		t.Error("what was refused counts as answered")
	}
	short := fuse.InitIn{Major: 7, Minor: 30, Flags: fuse.CAP_ASYNC_READ | fuse.CAP_WRITEBACK_CACHE, MaxReadAhead: 4096}
	out := partOf[fuse.InitOut](t, k.call(opInit, 0, behind(short)[:16]))
	if out.Minor != 30 || out.Flags != fuse.CAP_ASYNC_READ || out.MaxReadAhead != 4096 || out.MaxWrite != maxWrite {
		t.Errorf("an old kernel: %+v", out)
	}
	if s.IsFirst() {
		t.Error("a successor would think that it is the first")
	}
	long := fuse.InitIn{Major: 7, Minor: 99, Flags: ^uint32(0), Flags2: ^uint32(0)}
	out = partOf[fuse.InitOut](t, k.call(opInit, 0, behind(long)))
	if out.Minor != ourMinor || out.Flags64()&fuse.CAP_DIRECT_IO_ALLOW_MMAP == 0 || out.Flags&(fuse.CAP_WRITEBACK_CACHE|fuse.CAP_POSIX_LOCKS) != 0 {
		t.Errorf("a new kernel: %+v", out)
	}
}

// Whatever a message says, the answer is well-formed, and so is the state after it.
func FuzzMessage(f *testing.F) {
	for _, opcode := range []uint32{opLookup, opForget, opGetattr, opReadlink, opOpen, opRead, opReaddir, opReaddirplus, opRelease, opFlush, opInit, opInterrupt, opBatchForget, opStatfs, opSetattr, 200} {
		f.Add(opcode, []byte("a message\x00 with some bytes in it, as many as the longest has\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"))
		f.Add(opcode, readOf(1, 100))
	}
	f.Add(uint32(opBatchForget), bytes.Repeat([]byte{1, 0, 0, 0, 0, 0, 0, 0}, 900))
	j, err := newJournal()
	if err != nil {
		f.Fatal(err)
	}
	defer j.close()
	s := &Session{cfg: Config{Handler: &echo{}, IsLocal: func() bool { return true }}, journal: j}
	s.cfg.Log = quiet
	r := s.newReader(j.take())
	f.Fuzz(func(t *testing.T, opcode uint32, body []byte) {
		body = body[:min(len(body), messageSize-headerSize)]
		h := fuse.InHeader{Length: uint32(headerSize + len(body)), Opcode: opcode, Unique: 2, NodeId: 1}
		message := append(bytes.Clone(bytesOf(&h)), body...)
		n := copy(r.slot[:messageSlot], message)
		r.n = n + copy(r.spill, message[n:])
		r.begin(as[fuse.InHeader](r))
		status, wanted := r.guarded()
		if wanted == unanswered(opcode) && opcode != opInterrupt {
			t.Errorf("opcode %d is answered: %v", opcode, wanted)
		}
		if status == fuse.EIO && len(body) > 200 && opcode != opRead && opcode != opReaddir && opcode != opReaddirplus {
			t.Errorf("opcode %d with %d bytes: EIO", opcode, len(body))
		}
		if r.size > int(unsafe.Sizeof(r.out.body)) {
			t.Errorf("a body of %d bytes", r.size)
		}
		r.finish()
		if *uniqueOf(r.slot) != 0 || r.payload != nil || r.size != 0 || r.pooled != nil {
			t.Error("something is left of the message")
		}
		s.cfg.Handler.(*echo).called()
	})
}
