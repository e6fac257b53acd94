package fs

import (
	"os"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// disconnected gives a filesystem a loop whose kernel is one end of a pipe.
func disconnected(t *testing.T, f *FS, device *os.File) {
	t.Helper()
	j, err := newJournal()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.close)
	f.loop = &loop{fs: f, kernel: &kernel{device: device, fd: int(device.Fd())}, journal: j, gone: make(chan struct{})}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// A connection that ends while a successor begins ends the successor in order,
// whichever reader sees it first, and whoever still begins to read.
func TestConnectionEndsDuringTakeOver(t *testing.T) {
	f := unmounted(t, t.TempDir())
	_, device := pipe(t) // it cannot be read from, as one that was aborted
	disconnected(t, f, device)
	slot := f.loop.journal.take()
	h := (*fuse.InHeader)(unsafe.Pointer(&slot[0]))
	h.Length, h.Opcode, h.Unique, h.NodeId = uint32(unsafe.Sizeof(fuse.GetAttrIn{})), opGetattr, 2, rootID
	left := f.loop.journal.left()
	f.loop.start()
	<-f.loop.gone
	f.loop.resume(left)
	f.Restart()
	for begun := time.Now(); f.loop.busy(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			t.Fatal("readers are left")
		}
	}
}

// untilRead is a kernel that drops no pages before somebody reads: the READ
// that it waits for may not have been read yet.
type untilRead struct {
	*loop
	never chan struct{}
}

func (untilRead) EntryNotify(uint64, string) fuse.Status { return fuse.OK }

func (k untilRead) InodeNotify(uint64, int64, int64) fuse.Status {
	for k.idle.Load() == 0 {
		select {
		case <-k.never:
			return fuse.OK
		case <-time.After(time.Millisecond):
		}
	}
	return fuse.OK
}

// Whoever waits for pages of a predecessor's time lets another one read: they
// are not dropped before a READ is answered.
func TestInheritedPagesDoNotStopTheReading(t *testing.T) {
	source := t.TempDir()
	putBlob(t, source+"/a.cipher", "")
	f := unmounted(t, source)
	device, other := pipe(t)
	disconnected(t, f, device)
	n, _, err := f.find("", "a")
	if err != nil {
		t.Fatal(err)
	}
	f.loop.journal.page(n.id)
	kernel := untilRead{f.loop, make(chan struct{})}
	f.pages.start(kernel)
	ids := f.pages.inherit(f.loop.journal)
	if !slices.Contains(ids, n.id) {
		t.Fatalf("inherited %v", ids)
	}
	go f.pages.dropLeft(ids)
	answered := make(chan fuse.Status)
	go func() {
		var out fuse.EntryOut
		answered <- f.Lookup(nil, &fuse.InHeader{NodeId: rootID}, "a", &out)
	}()
	select {
	case status := <-answered:
		if !status.Ok() {
			t.Errorf("LOOKUP: %v", status)
		}
	case <-time.After(10 * time.Second):
		t.Error("LOOKUP waits for pages, and nobody reads")
		close(kernel.never)
		<-answered
	}
	f.loop.dead.Store(true)
	other.Close()
	if f.loop.busy() {
		<-f.loop.gone
	}
}
