package audit

import (
	"bytes"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Caller is who asks, as far as the kernel tells.
type Caller struct {
	UID, GID uint32
	TGID     uint32 // 0: the process is in a pid namespace that we cannot see
}

// threads remembers the processes of threads that are not the first of theirs.
// A signal of number 0 asks the kernel whether that still holds, which is much
// quicker than reading status.
type threads struct {
	mu sync.Mutex
	of map[uint32]uint32
}

// Caller resolves the thread id of a request to its process, while the request
// still holds the thread.
func (l *Log) Caller(uid, gid, tid uint32) Caller {
	return Caller{UID: uid, GID: gid, TGID: l.threads.tgid(tid)}
}

func (t *threads) tgid(tid uint32) uint32 {
	if tid == 0 {
		return 0
	}
	t.mu.Lock()
	known := t.of[tid]
	t.mu.Unlock()
	// EPERM: there is such a thread in that process, and it is not ours.
	if known != 0 && unix.Tgkill(int(known), int(tid), 0) != unix.ESRCH {
		return known
	}
	tgid := readTgid(tid)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.of) >= 1024 {
		clear(t.of)
	}
	t.of[tid] = tgid
	return tgid
}

func readTgid(tid uint32) uint32 {
	// A pidfd is for the first thread of a process only, which most openers
	// are; finding that out is several times quicker than reading status.
	if fd, err := unix.PidfdOpen(int(tid), 0); err == nil {
		unix.Close(fd)
		return tid
	}
	fd, err := unix.Open("/proc/"+strconv.FormatUint(uint64(tid), 10)+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return tid
	}
	defer unix.Close(fd)
	var buf [256]byte // Tgid is the fourth line
	n, _ := unix.Read(fd, buf[:])
	_, rest, ok := bytes.Cut(buf[:max(n, 0)], []byte("\nTgid:\t"))
	if !ok {
		return tid
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	v, err := strconv.ParseUint(string(line), 10, 32)
	if err != nil {
		return tid
	}
	return uint32(v)
}
