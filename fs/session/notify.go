package session

import (
	"os"
	"sync"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// kernel is the descriptor of /dev/fuse, and what we tell without having been
// asked. README.md says what these calls may wait for.
type kernel struct {
	device *os.File
	fd     int

	mu     sync.RWMutex // read-locked while a notification is written
	closed bool
}

// InodeNotify drops an inode's attributes and length bytes of its pages from
// off on, 0 being all; nothing of the pages when off is negative.
func (k *kernel) InodeNotify(ino uint64, off, length int64) error {
	var m struct {
		fuse.OutHeader
		fuse.NotifyInvalInodeOut
	}
	m.Ino, m.Off, m.NotifyInvalInodeOut.Length = ino, off, length
	return k.notify(&m.OutHeader, fuse.NOTIFY_INVAL_INODE, unsafe.Sizeof(m), "")
}

// EntryNotify makes the kernel ask again for a name in a directory.
func (k *kernel) EntryNotify(parent uint64, name string) error {
	var m struct {
		fuse.OutHeader
		fuse.NotifyInvalEntryOut
	}
	m.Parent, m.NameLen = parent, uint32(len(name))
	return k.notify(&m.OutHeader, fuse.NOTIFY_INVAL_ENTRY, unsafe.Sizeof(m), name+"\x00")
}

// wakeReader makes the kernel send a message that one reader gets: it asks for no
// bytes of a file's page cache. It returns false for a node that is no file of
// the kernel's.
func (k *kernel) wakeReader(file uint64) bool {
	var m struct {
		fuse.OutHeader
		fuse.NotifyRetrieveOut
	}
	m.Nodeid = file
	return k.notify(&m.OutHeader, fuse.NOTIFY_RETRIEVE_CACHE, unsafe.Sizeof(m), "") == nil
}

// notify writes a message that begins with head. A notification has no unique
// number, and its kind where an answer has its errno.
func (k *kernel) notify(head *fuse.OutHeader, kind int32, size uintptr, name string) error {
	head.Status = -kind
	head.Length = uint32(size) + uint32(len(name))
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.closed {
		return unix.ENODEV
	}
	_, err := unix.Writev(k.fd, [][]byte{unsafe.Slice((*byte)(unsafe.Pointer(head)), size), []byte(name)})
	return err
}

func (k *kernel) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed {
		k.device.Close()
	}
	k.closed = true
}
