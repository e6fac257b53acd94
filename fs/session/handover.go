package session

import (
	"slices"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// How reading ends for a successor, and begins after a predecessor.

// Serve begins to read, and answers what a predecessor has taken from the kernel
// and not answered any more: so many messages. What the predecessor says of the
// kernel's pages (LeftPaged) is asked before.
func (s *Session) Serve() (underWay int) {
	left := s.journal.left() // before any slot is taken
	underWay = s.resume(left)
	s.start()
	return underWay
}

// resume answers what a predecessor has taken and not answered, or has answered
// without having cleared it: then the kernel does not know the request any more
// and drops the second answer. Every request may be done twice, for none changes
// anything.
func (s *Session) resume(left [][]byte) (found int) {
	readers := make([]*reader, len(left))
	for i, slot := range left {
		readers[i] = s.newReader(slot) // all before the first one ends: with the last, everything is let go
	}
	for i, slot := range left {
		r := readers[i]
		h := (*fuse.InHeader)(unsafe.Pointer(&slot[0]))
		r.n = int(min(h.Length, messageSlot))
		if r.n < headerSize || unanswered(h.Opcode) {
			r.finish()
			s.end(r)
			continue
		}
		found++
		interrupted := *interruptOf(slot) != 0
		go func() {
			defer s.end(r)
			if interrupted {
				r.begin(h)
				r.cancelIf(h.Unique)
			}
			r.serve()
		}()
	}
	return found
}

// Stop ends the reading for a successor and loses nothing: a message that nobody
// has read waits in the kernel, one that was read is answered or stays in the
// journal. It returns true when all readers have ended, and false after the time
// given. A reader that waits is woken by a message that we make the kernel send,
// about one of these files that it knows. Should that fail, the reader ends with
// the process; a message that it is reading at that very moment is answered EIO by
// the kernel.
func (s *Session) Stop(patience time.Duration, files []uint64) bool {
	s.stopping.Store(true)
	late := time.Now().Add(patience)
	for s.busy() && !s.dead.Load() && time.Now().Before(late) {
		if s.idle.Load() > 0 && !slices.ContainsFunc(files, s.kernel.wakeReader) {
			// The kernel knows no file. We ask it for its root, then; should
			// nobody be left to answer that, the successor is.
			const fresh = unix.AT_STATX_FORCE_SYNC | unix.AT_NO_AUTOMOUNT
			go unix.Statx(unix.AT_FDCWD, s.cfg.Mount.Point, fresh, unix.STATX_MODE, new(unix.Statx_t))
		}
		time.Sleep(time.Millisecond)
	}
	return !s.busy()
}

func (s *Session) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.readers) > 0
}

// Abandon leaves what is under way after a Stop to a successor: from now on
// nothing is answered any more, and nothing that was lent for an answer is in use.
func (s *Session) Abandon() {
	s.answering.Lock()
	defer s.answering.Unlock()
	s.abandoned = true
}

// Restart takes back a Stop: there is no successor after all.
func (s *Session) Restart() {
	s.stopping.Store(false)
	s.start()
}
