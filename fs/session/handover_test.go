package session

import (
	"log/slog"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

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
	s, err := open(&Lifeline{Device: device, Journal: j.file}, Config{Log: slog.New(slog.DiscardHandler)})
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
	for begun := time.Now(); s.busy(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			t.Fatal("readers are left")
		}
	}
	s.Close()
}
