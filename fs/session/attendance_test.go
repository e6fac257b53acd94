package session

import (
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Whoever has the journal sees at once that its server has left, and nothing
// else that the server had open stays open for it.
func TestEverybodySeesAtOnceThatAServerHasLeft(t *testing.T) {
	j, err := newJournal()
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	line := &Lifeline{Journal: j.file}
	if pid := line.AttendedBy(); pid != 0 {
		t.Errorf("attended by %d", pid)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	left := make(chan struct{})
	before := len(pollerFDs())
	j.attend(left)
	if before < 2 {
		t.Errorf("Go's poller has %d descriptors", before)
	}
	if pid := line.AttendedBy(); pid != os.Getpid() {
		t.Errorf("attended by %d, want %d", pid, os.Getpid())
	}
	write.Close()
	if n, err := read.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the pipe is held open: %d, %v", n, err)
	}
	gone := make(chan error)
	go func() { gone <- line.AwaitUnattended() }()
	select {
	case err := <-gone:
		t.Fatalf("it is attended, and the wait has ended: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(left)
	if err := <-gone; err != nil {
		t.Error(err)
	}
	if pid := line.AttendedBy(); pid != 0 {
		t.Errorf("afterwards it is attended by %d", pid)
	}
	j.attend(make(chan struct{})) // a successor
	if pid := line.AttendedBy(); pid != os.Getpid() {
		t.Errorf("the successor attends as %d", pid)
	}
}

// What a killed server has taken is refused, also when it is seen late, and so is
// what comes after; messages that want no answer get none.
func TestWhatAKilledOneLeftIsRefused(t *testing.T) {
	j, err := newJournal()
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	kernel, device := pair[0], os.NewFile(uintptr(pair[1]), "device")
	defer device.Close()
	message := func(opcode uint32, unique uint64) []byte {
		b := make([]byte, headerSize)
		*(*fuse.InHeader)(unsafe.Pointer(&b[0])) = fuse.InHeader{Length: uint32(headerSize), Opcode: opcode, Unique: unique}
		return b
	}
	copy(j.take(), message(opRead, 2))
	copy(j.take(), message(opForget, 4))
	refused := make(chan error, 1)
	go func() { refused <- (&Lifeline{Device: device, Journal: j.file}).Refuse() }()
	unix.SetsockoptTimeval(kernel, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
	want := func(unique uint64) {
		t.Helper()
		for { // what is in the journal is refused again and again
			var out fuse.OutHeader
			b := unsafe.Slice((*byte)(unsafe.Pointer(&out)), outHeaderSize)
			if n, err := unix.Read(kernel, b); n != outHeaderSize || err != nil {
				t.Fatalf("waiting for %d: %d bytes, %v", unique, n, err)
			}
			if out.Status != -int32(unix.ENOTCONN) || out.Unique == 4 || out.Unique == 6 {
				t.Fatalf("%d is answered %d", out.Unique, out.Status)
			}
			if out.Unique == unique {
				return
			}
		}
	}
	want(2)
	for _, b := range [][]byte{message(opForget, 6), message(opLookup, 8)} {
		if _, err := unix.Write(kernel, b); err != nil {
			t.Fatal(err)
		}
	}
	want(8)
	copy(j.take(), message(opOpen, 10))
	want(10)
	unix.Close(kernel)
	select {
	case <-refused:
	case <-time.After(5 * time.Second):
		t.Error("it goes on without a device")
	}
}
