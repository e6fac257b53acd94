package churn_test

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// The readers of a churn are processes of their own, so that one which the
// kernel does not let go takes nothing with it. Each writes down, in memory that
// it shares with the test, since when it has been waiting and how long it has
// waited before: the test asks that memory, and no reader.

// churnEnv turns the test binary into such a reader: its role and its directory.
const churnEnv = "KMSFS_TEST_CHURN"

// churnFiles are what is read. Only their versions change, never their text.
var churnFiles = []string{"a", "b", "c", "d", "sub/e", "sub/f"}

func churnText(name string) string { return harness.Lengthy(name, 800+300*int(name[len(name)-1]-'a')) }

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

func init() {
	role, dir, ok := strings.Cut(os.Getenv(churnEnv), " ")
	if !ok {
		return
	}
	if role == "nothing" {
		os.Exit(0)
	}
	debug.SetPanicOnFault(true)
	y, err := sharedTally(3)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	pause := 6
	if role == "map" || role == "splice" {
		pause = 120 // as long as they hold something, so that an umount has a chance
	}
	for {
		name := churnFiles[rand.IntN(len(churnFiles))]
		if err := churnRoles[role](y, dir, name); err != nil {
			rest(5 * time.Millisecond) // nobody serves at the moment
		} else {
			rest(time.Duration(rand.IntN(pause)) * time.Millisecond)
		}
	}
}

// rest leaves the processor to the others: what is measured is who waits for
// whom, and not how fast two processors are.
func rest(d time.Duration) { time.Sleep(d) }

var churnRoles = map[string]func(y *tally, dir, name string) error{
	"cat": func(y *tally, dir, name string) error {
		var got []byte
		err := y.wait(func() (err error) { got, err = os.ReadFile(filepath.Join(dir, name)); return err })
		if err == nil {
			y.judge(name, string(got))
		}
		return err
	},
	"list": func(y *tally, dir, name string) error {
		dir = filepath.Dir(filepath.Join(dir, name))
		var entries []os.DirEntry
		if err := y.wait(func() (err error) { entries, err = os.ReadDir(dir); return err }); err != nil {
			return err
		}
		for _, e := range entries {
			y.wait(func() error { os.Lstat(filepath.Join(dir, e.Name())); return nil })
		}
		for range 4 {
			missing := fmt.Sprintf("missing-%d", rand.IntN(1000))
			y.wait(func() error { os.Lstat(filepath.Join(dir, missing)); return nil })
		}
		return nil
	},
	"map":    churnMap,
	"splice": churnSplice,
	// This one reads nothing: it tells what this machine takes at the moment to
	// start a program, which is what a hand-over or a succession is made of.
	"start": func(y *tally, dir, name string) error {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{churnEnv + "=nothing "}
		err := y.wait(cmd.Run)
		rest(time.Second)
		return err
	},
}

// churnMap holds a mapping for a while, touches it and drops it.
func churnMap(y *tally, dir, name string) error {
	f, err := waitOpen(y, dir, name)
	if err != nil {
		return err
	}
	page, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	y.wait(f.Close)
	if err != nil {
		return err
	}
	defer unix.Munmap(page)
	for range 2 {
		got := ""
		err := y.wait(func() (err error) { got, err = textOf(page, len(churnText(name))); return err })
		if err != nil {
			return err
		}
		y.judge(name, got)
		rest(time.Duration(rand.IntN(60)) * time.Millisecond)
	}
	return nil
}

// textOf reads a mapping, of which the kernel may have to ask for the page.
func textOf(page []byte, n int) (text string, err error) {
	defer func() {
		if recover() != nil {
			err = unix.EFAULT // SIGBUS
		}
	}()
	return string(page[:n]), nil
}

// churnSplice holds pages of a file in a pipe for a while, or sends them
// through one.
func churnSplice(y *tally, dir, name string) error {
	f, err := waitOpen(y, dir, name)
	if err != nil {
		return err
	}
	defer y.wait(f.Close)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	size, n := len(churnText(name)), 0
	err = y.wait(func() (err error) {
		if rand.IntN(2) == 0 {
			var at int64
			var n64 int64
			n64, err = unix.Splice(int(f.Fd()), &at, pipe[1], nil, size, 0)
			n = int(n64)
		} else {
			n, err = unix.Sendfile(pipe[1], int(f.Fd()), nil, size)
		}
		return err
	})
	if err != nil {
		return err
	}
	rest(time.Duration(rand.IntN(60)) * time.Millisecond)
	got := make([]byte, size)
	if n > 0 {
		n, err = unix.Read(pipe[0], got)
	}
	if err == nil && n == size {
		y.judge(name, string(got))
	}
	return err
}

func waitOpen(y *tally, dir, name string) (f *os.File, err error) {
	err = y.wait(func() (err error) { f, err = os.Open(filepath.Join(dir, name)); return err })
	return f, err
}

// churner is a reader, as the test sees it.
type churner struct {
	role  string
	cmd   *exec.Cmd
	ended chan struct{}
	*tally
}

func startChurner(role, dir string) (*churner, error) {
	fd, err := unix.MemfdCreate("waits", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	memory := os.NewFile(uintptr(fd), "waits")
	defer memory.Close()
	if err := memory.Truncate(int64(unsafe.Sizeof(tally{}))); err != nil {
		return nil, err
	}
	y, err := sharedTally(fd)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &churner{role: role, cmd: exec.Command(self), ended: make(chan struct{}), tally: y}
	c.cmd.Env = append(os.Environ(), churnEnv+"="+role+" "+dir, "GOMAXPROCS=1")
	c.cmd.Stderr = os.Stderr
	c.cmd.ExtraFiles = []*os.File{memory}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { c.cmd.Wait(); close(c.ended) }()
	return c, nil
}

// waiting is how long it has been waiting, and since when.
func (c *churner) waiting() (time.Duration, int64) {
	begun := c.begun.Load()
	if begun == 0 {
		return 0, 0
	}
	return time.Duration(monotonicNow() - begun), begun
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
