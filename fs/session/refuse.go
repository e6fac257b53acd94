package session

import (
	"io"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// refusing is how often Refuse looks for what a killed server has taken: a thread
// of it may still have been at that when it was killed.
const refusing = 20 * time.Millisecond

// Refuse answers with an error whatever a server has taken and left when it was
// killed, and whatever else is asked on the connection, until that has ended.
// It is for a server without a successor: as long as a thread of it waits in the
// kernel for one of these answers, neither the server nor the connection can end.
func (l *Lifeline) Refuse() error {
	j, err := openJournal(l.Journal)
	if err != nil {
		return err
	}
	defer j.close()
	fd := int(l.Device.Fd())
	over := make(chan struct{})
	defer close(over)
	go func() {
		for {
			for i := range int(atomic.LoadUint32(&j.head.slots)) {
				refuse(fd, (*fuse.InHeader)(unsafe.Pointer(&j.slot(i)[0])))
			}
			select {
			case <-over:
				return
			case <-time.After(refusing):
			}
		}
	}()
	message := make([]byte, messageSize)
	for {
		n, err := unix.Read(fd, message)
		switch {
		case err == unix.ENODEV:
			return nil
		case err == unix.EINTR || err == unix.EAGAIN || err == unix.ENOENT:
		case err != nil:
			return err
		case n < headerSize:
			return io.ErrUnexpectedEOF
		default:
			refuse(fd, (*fuse.InHeader)(unsafe.Pointer(&message[0])))
		}
	}
}

// refuse answers a message as the kernel answers for a connection that has
// ended. A second answer to the same is no harm: the kernel does not know the
// message any more.
func refuse(fd int, in *fuse.InHeader) {
	if in.Unique == 0 || unanswered(in.Opcode) {
		return
	}
	out := fuse.OutHeader{Length: uint32(outHeaderSize), Status: -int32(unix.ENOTCONN), Unique: in.Unique}
	unix.Write(fd, unsafe.Slice((*byte)(unsafe.Pointer(&out)), outHeaderSize))
}
