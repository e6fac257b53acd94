package session

import (
	"errors"
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
	head   *journalHead

	mu   sync.Mutex
	free []int // slots that were given back
	// paged are the slots of the nodes that the kernel may have pages of, and
	// unpaged those that were given back.
	paged   map[uint64]int
	unpaged []int
}

// journalHead is the first page. A version of kmsfs that changes it, or what
// follows, must still read this one: it has another magic.
type journalHead struct {
	magic  [16]byte
	device uint64 // of the mount, as in st_dev
	minor  uint32 // of the protocol; 0 until INIT is answered
	epoch  uint32 // how many processes have served
	slots  uint32 // how many were ever taken
	paged  uint32 // how many of those for nodes
}

var journalMagic = [16]byte([]byte("kmsfs journal 1\n"))

const (
	slotSize = 512
	maxSlots = 1 << 16
	// messageSlot is the part of a slot that the kernel writes to. It holds
	// all of every message that is answered, except a name that is too long.
	messageSlot = 496
	slotsAt     = 4096
	pagedAt     = slotsAt + maxSlots*slotSize
	maxPaged    = 1 << 20
	journalSize = pagedAt + maxPaged*8
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
	if err := j.open(); err != nil {
		j.file.Close()
		return nil, err
	}
	j.head.magic = journalMagic
	return j, nil
}

// openJournal opens that of a predecessor.
func openJournal(file *os.File) (*journal, error) {
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &journal{file: os.NewFile(uintptr(fd), "journal")}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != journalSize) {
		err = errors.New("open journal: it is none")
	}
	if err == nil {
		err = j.open()
	}
	if err == nil && (j.head.magic != journalMagic || j.head.slots > maxSlots || j.head.paged > maxPaged) {
		err = errors.New("open journal: another version of kmsfs has written it")
	}
	if err != nil {
		j.file.Close()
		return nil, err
	}
	return j, nil
}

func (j *journal) open() (err error) {
	j.memory, err = unix.Mmap(int(j.file.Fd()), 0, journalSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	j.head = (*journalHead)(unsafe.Pointer(&j.memory[0]))
	j.paged = map[uint64]int{}
	return nil
}

// negotiated records that INIT was read. It stays in its slot until it is
// answered, like any other message.
func (j *journal) negotiated(minor uint32) { atomic.StoreUint32(&j.head.minor, minor) }

func (j *journal) slot(i int) []byte { return j.memory[slotsAt+i*slotSize:][:slotSize:slotSize] }

// take returns a slot that nobody uses, nil if there is none. Its memory is there:
// a process that gets no page more is killed here, and not while the kernel
// copies a message into it, which would be lost.
func (j *journal) take() []byte {
	slot := j.takeAny()
	if slot != nil {
		clearSlot(slot)
	}
	return slot
}

func (j *journal) takeAny() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := len(j.free); n > 0 {
		i := j.free[n-1]
		j.free = j.free[:n-1]
		return j.slot(i)
	}
	i := int(j.head.slots)
	if i == maxSlots {
		return nil
	}
	atomic.StoreUint32(&j.head.slots, uint32(i+1))
	return j.slot(i)
}

func (j *journal) give(slot []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	offset := uintptr(unsafe.Pointer(&slot[0])) - uintptr(unsafe.Pointer(&j.memory[0]))
	j.free = append(j.free, (int(offset)-slotsAt)/slotSize)
}

// left returns the slots in which a predecessor has left a message. The others
// can be taken.
func (j *journal) left() [][]byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found [][]byte
	for i := range int(j.head.slots) {
		if slot := j.slot(i); *uniqueOf(slot) != 0 {
			found = append(found, slot)
		} else {
			j.free = append(j.free, i)
		}
	}
	return found
}

func (j *journal) pagedSlot(i int) *uint64 { return (*uint64)(unsafe.Pointer(&j.memory[pagedAt+i*8])) }

// page records that the kernel may have pages of a node from now on. It
// returns false when there is no room for that.
func (j *journal) page(id uint64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.paged[id]; ok {
		return true
	}
	i := int(j.head.paged)
	if n := len(j.unpaged); n > 0 {
		i, j.unpaged = j.unpaged[n-1], j.unpaged[:n-1]
	} else if i == maxPaged {
		return false
	} else {
		atomic.StoreUint32(&j.head.paged, uint32(i+1))
	}
	atomic.StoreUint64(j.pagedSlot(i), id)
	j.paged[id] = i
	return true
}

// unpage records that the kernel has none any more.
func (j *journal) unpage(id uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if i, ok := j.paged[id]; ok {
		atomic.StoreUint64(j.pagedSlot(i), 0)
		delete(j.paged, id)
		j.unpaged = append(j.unpaged, i)
	}
}

// leftPaged returns the nodes that the kernel may have pages of, as a
// predecessor has recorded it.
func (j *journal) leftPaged() []uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []uint64
	for i := range int(j.head.paged) {
		if id := *j.pagedSlot(i); id != 0 {
			found = append(found, id)
			j.paged[id] = i
		} else {
			j.unpaged = append(j.unpaged, i)
		}
	}
	return found
}

// close unmaps nothing: a handler that outlives the connection may still hold
// a slot.
func (j *journal) close() { j.file.Close() }

// unmap is for one that is passed on unused.
func (j *journal) unmap() { unix.Munmap(j.memory) }

// A slot is a message, whose unique number stands at 8, and behind it whether the
// kernel has said that the caller gave up, which it does only once.

func uniqueOf(slot []byte) *uint64    { return (*uint64)(unsafe.Pointer(&slot[8])) }
func interruptOf(slot []byte) *uint64 { return (*uint64)(unsafe.Pointer(&slot[messageSlot])) }

// clearSlot forgets the message: no message has the number 0.
func clearSlot(slot []byte) {
	atomic.StoreUint64(uniqueOf(slot), 0)
	atomic.StoreUint64(interruptOf(slot), 0)
}
