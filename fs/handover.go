package fs

import (
	"slices"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// How reading ends for a successor, and begins after a predecessor.

// resume answers what a predecessor has taken from the kernel and not answered
// any more, or has answered without having cleared it: then the kernel does
// not know the request any more and drops the second answer. Every request
// may be done twice, for none changes anything.
func (l *loop) resume(left [][]byte) (found int) {
	readers := make([]*reader, len(left))
	for i, slot := range left {
		readers[i] = l.newReader(slot) // all before the first one ends: with the last, everything is let go
	}
	for i, slot := range left {
		r := readers[i]
		h := (*fuse.InHeader)(unsafe.Pointer(&slot[0]))
		r.n = int(min(h.Length, messageSlot))
		if r.n < headerSize || unanswered(h.Opcode) {
			r.finish()
			l.end(r)
			continue
		}
		found++
		interrupted := *interruptOf(slot) != 0
		go func() {
			defer l.end(r)
			if interrupted {
				r.begin(h.Unique)
				r.cancelIf(h.Unique)
			}
			r.serve()
		}()
	}
	return found
}

// stop ends the reading and loses nothing: a message that nobody has read
// waits in the kernel, one that was read is answered or stays in the journal.
// It returns true when all readers have ended, and false after the time given.
// A reader that waits is woken by a message that we make the kernel send.
// Should that fail, it ends with the process; a message that it is reading at
// that very moment is answered EIO by the kernel.
func (l *loop) stop(patience time.Duration) bool {
	l.stopping.Store(true)
	late := time.Now().Add(patience)
	files := l.fs.nodes.files(func(string) bool { return true })
	for l.busy() && !l.dead.Load() && time.Now().Before(late) {
		if l.idle.Load() > 0 && !slices.ContainsFunc(files, func(n *node) bool { return l.kernel.poke(n.id) }) {
			// The kernel knows no file. We ask it for its root, then; should
			// nobody be left to answer that, the successor is.
			go unix.Statx(unix.AT_FDCWD, l.fs.cfg.Mount.Point, unix.AT_STATX_FORCE_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_MODE, new(unix.Statx_t))
		}
		time.Sleep(time.Millisecond)
	}
	return !l.busy()
}

func (l *loop) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.readers) > 0
}

// restart takes back a stop: there is no successor after all.
func (l *loop) restart() {
	l.stopping.Store(false)
	l.start()
}
