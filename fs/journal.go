package fs

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// journal is memory that outlives the process: whoever holds its descriptor,
// and that of the connection, can go on where this process was killed.
//
// INVARIANT: a request that was taken from the kernel and is not answered lies
// in a slot, byte for byte. The kernel itself writes it there, so there is no
// instant at which it is nowhere: killed before, the kernel still has it;
// killed while it is being copied, the kernel answers EIO.
// INVARIANT: nothing in it is secret: what the kernel asks, never an answer.
type journal struct {
	file   *os.File
	memory []byte

	mu   sync.Mutex
	free []int // slots that were given back
	next int   // the first that was never taken
}

const (
	slotSize = 512
	maxSlots = 1 << 16
	// messageSlot is the part of a slot that the kernel writes to. It holds
	// all of every message that is answered, except a name that is too long.
	messageSlot = 496
	slotsAt     = 4096 // behind a page that says what this is
	journalSize = slotsAt + maxSlots*slotSize
)

// newJournal makes an empty one. It takes memory for what is used of it only.
func newJournal() (*journal, error) {
	fd, err := unix.MemfdCreate("kmsfs journal", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate("kmsfs journal", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("make journal: %w", err)
	}
	j := &journal{file: os.NewFile(uintptr(fd), "journal")}
	if err := unix.Ftruncate(fd, journalSize); err != nil {
		j.file.Close()
		return nil, fmt.Errorf("make journal: %w", err)
	}
	return j, j.open()
}

func (j *journal) open() (err error) {
	j.memory, err = unix.Mmap(int(j.file.Fd()), 0, journalSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	return nil
}

func (j *journal) slot(i int) []byte { return j.memory[slotsAt+i*slotSize:][:slotSize:slotSize] }

// take returns a slot that nobody uses, nil if there is none.
func (j *journal) take() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := len(j.free); n > 0 {
		i := j.free[n-1]
		j.free = j.free[:n-1]
		return j.slot(i)
	}
	if j.next == maxSlots {
		return nil
	}
	j.next++
	return j.slot(j.next - 1)
}

func (j *journal) give(slot []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.free = append(j.free, (int(uintptr(unsafe.Pointer(&slot[0]))-uintptr(unsafe.Pointer(&j.memory[0])))-slotsAt)/slotSize)
}

// close unmaps nothing: a handler that outlives the connection may still hold
// a slot.
func (j *journal) close() { j.file.Close() }

// clearSlot forgets the message of a slot: its unique number becomes 0, which
// no message has.
func clearSlot(slot []byte) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&slot[8])), 0)
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&slot[messageSlot])), 0)
}

// markInterrupted records that the caller has given up: the kernel says so
// only once.
func markInterrupted(slot []byte) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&slot[messageSlot])), 1)
}
