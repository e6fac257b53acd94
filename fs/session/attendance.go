package session

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// That a process answers is said by a lock on the journal. It belongs to a thread
// with descriptors of its own, so the kernel takes it back with that thread: at
// once, also from a process that is killed while another thread of it waits in
// the kernel for an answer. Such a process cannot end, what it has open stays
// open, and its parent hears nothing; but the lock is free.
//
// A program that takes the place of another one (exec) has to take the lock
// anew.

// attend takes the lock until left is closed. Without it, whoever has to find
// out looks at the process itself.
func (j *journal) attend(left <-chan struct{}) {
	taken := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // it never ends, and its descriptors are shown as those of the process
			j.attend(left) // by another one, while this one is in use
			runtime.UnlockOSThread()
			close(taken)
			return
		}
		// The thread is never unlocked: it ends with its goroutine.
		fd := int(j.file.Fd())
		if !keepOnly(append(pollerFDs(), fd)) {
			close(taken)
			return
		}
		got := unix.FcntlFlock(uintptr(fd), unix.F_SETLK, attendance(unix.F_WRLCK)) == nil
		close(taken)
		for !got { // a predecessor is still there, or somebody who has waited for its end has the lock for a moment
			select {
			case <-left:
				return
			case <-time.After(10 * time.Millisecond):
			}
			got = unix.FcntlFlock(uintptr(fd), unix.F_SETLK, attendance(unix.F_WRLCK)) == nil
		}
		<-left
	}()
	<-taken
}

// keepOnly gives this thread descriptors of its own, which are these.
func keepOnly(kept []int) bool {
	if unix.CloseRange(math.MaxInt32, math.MaxInt32, unix.CLOSE_RANGE_UNSHARE) != nil {
		return false
	}
	slices.Sort(kept)
	next := 0
	for _, fd := range append(kept, math.MaxInt32) {
		if fd > next && unix.CloseRange(uint(next), uint(fd-1), 0) != nil {
			return false
		}
		next = fd + 1
	}
	return true
}

// pollerFDs are those of Go's own poller: its scheduler runs on this thread, too,
// and ends the process where they are missing.
func pollerFDs() (found []int) {
	time.NewTimer(time.Hour).Stop() // from the first timer on there is a poller
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		to, _ := os.Readlink(link)
		if fd, err := strconv.Atoi(filepath.Base(link)); err == nil && (to == "anon_inode:[eventpoll]" || to == "anon_inode:[eventfd]") {
			found = append(found, fd)
		}
	}
	return found
}

// attendance is the lock: of the first byte.
func attendance(kind int16) *unix.Flock_t { return &unix.Flock_t{Type: kind, Len: 1} }

// AttendedBy is the process that answers, or 0 if none says so.
func (l *Lifeline) AttendedBy() (pid int) {
	lock := attendance(unix.F_RDLCK)
	if unix.FcntlFlock(l.Journal.Fd(), unix.F_GETLK, lock) != nil || lock.Type == unix.F_UNLCK {
		return 0
	}
	return int(lock.Pid)
}

// AwaitUnattended waits for a moment at which no process says that it answers.
func (l *Lifeline) AwaitUnattended() error {
	fd := l.Journal.Fd()
	for {
		err := unix.FcntlFlock(fd, unix.F_SETLKW, attendance(unix.F_RDLCK))
		if err == nil {
			return unix.FcntlFlock(fd, unix.F_SETLK, attendance(unix.F_UNLCK))
		}
		if err != unix.EINTR {
			return err
		}
	}
}
