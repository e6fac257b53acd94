package churn_test

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tally is what one reader has waited.
//
// INVARIANT: begun is not 0 while, and only while, the reader waits for the
// kernel.
type tally struct {
	begun   atomic.Int64 // on the monotonic clock, in nanoseconds
	longest atomic.Int64
	right   atomic.Int64           // answers with the right bytes
	failed  [maxErrno]atomic.Int64 // answers that were errors, by their number
	wrong   atomic.Int64
	waits   [waitBuckets]atomic.Int64
}

// Waits are counted in buckets, eight to an octave.
const waitBuckets = 8 * 48
const maxErrno = 134

func waitBucket(d time.Duration) int {
	n := uint64(max(8, d))
	octave := bits.Len64(n) - 4
	return min(waitBuckets-1, octave*8+int(n>>octave)-8)
}

// waitOf is the longest wait in a bucket.
func waitOf(bucket int) time.Duration { return time.Duration(bucket%8+9) << (bucket / 8) }

// sharedTally is memory for a tally, by its descriptor.
func sharedTally(fd int) (*tally, error) {
	memory, err := unix.Mmap(fd, 0, int(unsafe.Sizeof(tally{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*tally)(unsafe.Pointer(&memory[0])), nil
}

func monotonicNow() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// wait measures one thing that the kernel is asked for.
func (y *tally) wait(what func() error) error {
	begun := monotonicNow()
	y.begun.Store(begun)
	err := what()
	y.begun.Store(0)
	took := monotonicNow() - begun
	y.waits[waitBucket(time.Duration(took))].Add(1)
	if took > y.longest.Load() {
		y.longest.Store(took)
	}
	if err != nil {
		errno := syscall.Errno(0) // no error of the kernel's
		errors.As(err, &errno)
		y.failed[errno].Add(1)
	}
	return err
}

// judge counts an answer by its bytes.
func (y *tally) judge(name, got string) {
	if got == churnText(name) {
		y.right.Add(1)
	} else {
		y.wrong.Add(1)
	}
}

// waits is a count of waits by length, and of what came of them.
type waits struct {
	buckets      [waitBuckets]int64
	longest      time.Duration
	start        time.Duration // what it took at most to start a program meanwhile
	right, wrong int64
	failed       int64
	errnos       [maxErrno]int64
}

// taken is what the readers have waited since they were asked last.
func taken(readers []*churner) (w waits) {
	for _, c := range readers {
		if c.role == "start" {
			w.start = time.Duration(c.longest.Swap(0))
			continue
		}
		w.wrong += c.wrong.Swap(0)
		for i := range c.tally.waits {
			w.buckets[i] += c.tally.waits[i].Swap(0)
		}
		w.longest = max(w.longest, time.Duration(c.longest.Swap(0)))
		w.right += c.right.Swap(0)
		for errno := range c.tally.failed {
			n := c.tally.failed[errno].Swap(0)
			w.errnos[errno] += n
			w.failed += n
		}
		now, _ := c.waiting()
		w.longest = max(w.longest, now)
	}
	return w
}

func (w *waits) add(o waits) {
	for i, n := range o.buckets {
		w.buckets[i] += n
	}
	w.longest, w.start = max(w.longest, o.longest), max(w.start, o.start)
	w.right += o.right
	w.failed += o.failed
	for errno, n := range o.errnos {
		w.errnos[errno] += n
	}
}

// errors are what the answers said that were errors.
func (w *waits) errors() string {
	var all []string
	for errno, n := range w.errnos {
		if n > 0 {
			all = append(all, fmt.Sprint(unix.ErrnoName(syscall.Errno(errno)), " ", n))
		}
	}
	return strings.Join(all, ", ")
}

// at is the wait that a share of all do not exceed.
func (w *waits) at(share float64) time.Duration {
	var all, sum int64
	for _, n := range w.buckets {
		all += n
	}
	for i, n := range w.buckets {
		if sum += n; n > 0 && float64(sum) >= math.Ceil(share*float64(all)) {
			return min(waitOf(i), w.longest)
		}
	}
	return 0
}
