package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Repetitions are as many as a claim needs where KMSFS_SOAK is set; elsewhere
// there are enough to see that something is broken.
func Repetitions(few, many int) int {
	if os.Getenv("KMSFS_SOAK") != "" {
		return many
	}
	return few
}

// Load reads from a mount with several threads, in all the ways there are,
// and counts what goes wrong.
type Load struct {
	want map[string]string // path → content
	stop chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex
	reads  int
	wrong  []string
	errors map[string]int
	waits  []time.Duration
}

// StartLoad begins to read with several threads, until the test or Report ends it.
func StartLoad(t testing.TB, threads int, want map[string]string) *Load {
	t.Helper()
	w := &Load{want: want, stop: make(chan struct{}), errors: map[string]int{}}
	for i := range threads {
		w.done.Go(func() { w.run(i) })
	}
	t.Cleanup(w.end)
	return w
}

func (w *Load) end() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.done.Wait()
}

// run keeps one file open from the first moment on, and opens all others again
// and again.
func (w *Load) run(thread int) {
	var paths []string
	for p := range w.want {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	mine := paths[thread%len(paths)]
	old, err := os.Open(mine)
	if err != nil {
		w.note(time.Now(), mine, "", err)
		return
	}
	defer old.Close()
	for n := 0; ; n++ {
		select {
		case <-w.stop:
			return
		default:
		}
		begun := time.Now()
		path := paths[rand.IntN(len(paths))]
		var got []byte
		switch n % 4 {
		case 0, 1:
			got, err = os.ReadFile(path)
		case 2:
			path = mine
			got = make([]byte, len(w.want[mine])+1)
			var k int
			for k, err = unix.Pread(int(old.Fd()), got, 0); err == unix.EINTR; { // a signal of Go's own, which package os does not show either
				k, err = unix.Pread(int(old.Fd()), got, 0)
			}
			got = got[:max(0, k)]
		case 3:
			var st os.FileInfo
			got = []byte(w.want[path])
			if st, err = os.Stat(path); err == nil && st.Size() != int64(len(got)) {
				err = fmt.Errorf("size %d", st.Size())
			}
			var entries []os.DirEntry
			if err == nil {
				if entries, err = os.ReadDir(filepath.Dir(path)); err == nil && len(entries) != len(paths) {
					err = fmt.Errorf("%d entries", len(entries))
				}
			}
		}
		w.note(begun, path, string(got), err)
	}
}

func (w *Load) note(begun time.Time, path, got string, err error) {
	took := time.Since(begun)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	w.waits = append(w.waits, took)
	if err != nil {
		var errno syscall.Errno
		text := err.Error()
		if errors.As(err, &errno) {
			text = unix.ErrnoName(errno)
		}
		w.errors[text]++
	} else if got != w.want[path] && len(w.wrong) < 10 {
		w.wrong = append(w.wrong, fmt.Sprintf("%s reads %.40q", filepath.Base(path), got))
	}
}

// Count is how many reads there have been.
func (w *Load) Count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reads
}

// Report ends the load and says what it saw.
func (w *Load) Report(t testing.TB, what string) (failed int) {
	t.Helper()
	w.end()
	for _, n := range w.errors {
		failed += n
	}
	slices.Sort(w.waits)
	at := func(p float64) time.Duration {
		return w.waits[min(len(w.waits)-1, int(p*float64(len(w.waits))))].Round(10 * time.Microsecond)
	}
	t.Logf("%s: %d reads, errors %v, wrong %d; p50 %v, p99 %v, longest %v", what, w.reads, w.errors, len(w.wrong), at(.5), at(.99), at(1))
	for _, text := range w.wrong {
		t.Error(text)
	}
	if longest := at(1); longest > 5*time.Second {
		t.Errorf("somebody waited %v", longest)
	}
	return failed
}

// WithoutOpens is a log without its records of opens that went well.
func WithoutOpens(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "msg=open") || !strings.Contains(line, "result=ok") {
			b.WriteString(line)
		}
	}
	return b.String()
}
