package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// soaking asks for as many repetitions as a claim needs; without it there are
// enough to see that something is broken.
var soaking = os.Getenv("KMSFS_SOAK") != ""

func repetitions(few, many int) int {
	if soaking {
		return many
	}
	return few
}

// backgrounded is a mount in the background: a holder, and the server it has started.
type backgrounded struct {
	Source, Point, LogFile string
}

func inBackground(t testing.TB, l *lab.Lab, source string, options ...string) *backgrounded {
	t.Helper()
	needMount(t)
	h := &backgrounded{source, t.TempDir(), filepath.Join(t.TempDir(), "log")}
	args := []string{"mount", "-o", "allow_emulator,log_file=" + h.LogFile}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	if out, err := l.Kmsfs(nil, append(args, h.Source, h.Point)...); err != nil {
		t.Fatal(out, err)
	}
	t.Cleanup(func() {
		unix.Unmount(h.Point, unix.MNT_DETACH) // if the test has not
		waitGone(t, h.Point)
		if t.Failed() {
			log := loud(read(t, h.LogFile))
			t.Logf("log:\n%s", log[max(0, len(log)-4000):])
		}
	})
	return h
}

func (h *backgrounded) path(name string) string { return filepath.Join(h.Point, name) }

// pids are the holder and the server, 0 where there is none.
func (h *backgrounded) pids() (holder, server int) {
	parent := map[int]int{}
	for _, p := range processes(h.Point) {
		pid, _ := strconv.Atoi(strings.Fields(p)[0])
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		parent[pid], _ = strconv.Atoi(strings.Fields(after)[1])
	}
	for pid, ppid := range parent {
		if _, ok := parent[ppid]; ok {
			return ppid, pid
		}
	}
	for pid := range parent {
		return pid, 0
	}
	return 0, 0
}

// serverOtherThan waits for a server that is not the one that was killed.
func (h *backgrounded) serverOtherThan(t testing.TB, old int) int {
	t.Helper()
	for late := time.Now().Add(patience); time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
		if _, server := h.pids(); server != 0 && server != old {
			return server
		}
	}
	t.Fatal("there is no successor")
	return 0
}

// umount ends the mount as a user would.
func (h *backgrounded) umount(t testing.TB, l *lab.Lab) {
	t.Helper()
	if out, err := l.Kmsfs(nil, "umount", h.Point); err != nil {
		t.Fatal(out, err)
	}
	waitGone(t, h.Point)
}

// load reads from a mount with several threads, in all the ways there are,
// and counts what goes wrong.
type load struct {
	want map[string]string // path → content
	stop chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex
	reads  int
	wrong  []string
	errors map[string]int
	waits  []time.Duration
}

func startLoad(t testing.TB, threads int, want map[string]string) *load {
	t.Helper()
	w := &load{want: want, stop: make(chan struct{}), errors: map[string]int{}}
	for i := range threads {
		w.done.Go(func() { w.run(i) })
	}
	t.Cleanup(w.end)
	return w
}

func (w *load) end() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.done.Wait()
}

// run keeps one file open from the first moment on, and opens all others again
// and again.
func (w *load) run(thread int) {
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

func (w *load) note(begun time.Time, path, got string, err error) {
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

func (w *load) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reads
}

// report ends the load and says what it saw.
func (w *load) report(t testing.TB, what string) (failed int) {
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

// someSecrets makes a source of n files and returns what they read as.
func someSecrets(t testing.TB, l *lab.Lab, n int) (source string, plaintext map[string]string) {
	t.Helper()
	source, plaintext = t.TempDir(), map[string]string{}
	for i := range n {
		name := fmt.Sprintf("secret%d", i)
		plaintext[name] = lengthy(name, 1000+300*i)
		put(t, filepath.Join(source, name+".cipher"), seal(t, l, plaintext[name]))
	}
	return source, plaintext
}

func (h *backgrounded) want(plaintext map[string]string) map[string]string {
	want := map[string]string{}
	for name, text := range plaintext {
		want[h.path(name)] = text
	}
	return want
}

// A server that is killed is followed by another one, and readers see nothing
// but a short wait. nginx reloads meanwhile, and never misses its key.
func TestServerKilledUnderLoad(t *testing.T) { eachMode(t, testServerKilledUnderLoad) }

func testServerKilledUnderLoad(t *testing.T, mode string) {
	l := newLab(t)
	source, plaintext := someSecrets(t, l, 8)
	keyInto(t, l, filepath.Join(source, "key.pem.cipher"), 2048)
	h := inBackground(t, l, source, mode+",ttl=2s,qps=1000")
	plaintext["key.pem"] = read(t, h.path("key.pem"))
	cert := filepath.Join(t.TempDir(), "cert.pem")
	first := certificate(t, h.path("key.pem"), cert)
	n := startNginx(t, cert, h.path("key.pem"))
	w := startLoad(t, 6, h.want(plaintext))
	kills := repetitions(25, 500)
	holder, server := h.pids()
	for i := range kills {
		time.Sleep(time.Duration(350+rand.IntN(100)) * time.Millisecond)
		if i%5 == 0 {
			n.reload(t)
		}
		if err := syscall.Kill(server, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		server = h.serverOtherThan(t, server)
	}
	if failed := w.report(t, fmt.Sprint(kills, " kills")); failed > repetitions(1, 3) {
		t.Errorf("%d reads failed", failed)
	}
	if got, ok := n.served(); !ok || got != first {
		t.Error("nginx does not serve its certificate any more")
	}
	if log := read(t, filepath.Join(n.dir, "log")); strings.Contains(log, "[emerg]") {
		t.Errorf("nginx could not reload:\n%s", log)
	}
	if now, _ := h.pids(); now != holder {
		t.Errorf("the holder was %d and is %d", holder, now)
	}
	const death = "server died (signal: killed), successor took over"
	waitLines(t, h.LogFile, death, kills) // the last one is written once the successor is there
	if got := strings.Count(loud(read(t, h.LogFile)), death); got != kills {
		t.Errorf("the log tells of %d deaths, not of %d", got, kills)
	}
	h.umount(t, l)
}

// A server that is asked to hands over to the program on disk, and not one
// read fails.
func TestServerUpgradedUnderLoad(t *testing.T) { eachMode(t, testServerUpgradedUnderLoad) }

func testServerUpgradedUnderLoad(t *testing.T, mode string) {
	l := newLab(t)
	source, plaintext := someSecrets(t, l, 8)
	h := inBackground(t, l, source, mode+",ttl=2s,qps=1000")
	w := startLoad(t, 6, h.want(plaintext))
	upgrades := repetitions(10, 100)
	_, server := h.pids()
	for n := range upgrades {
		time.Sleep(time.Duration(50+rand.IntN(100)) * time.Millisecond)
		if err := syscall.Kill(server, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		waitLines(t, h.LogFile, "successor took over", n+1)
	}
	if failed := w.report(t, fmt.Sprint(upgrades, " upgrades")); failed > 0 {
		t.Errorf("%d reads failed", failed)
	}
	if out, err := l.Kmsfs(nil, "status", h.Point); err != nil || !strings.Contains(out, strconv.Itoa(server)) {
		t.Errorf("status after an upgrade: %v\n%s", err, out)
	}
	if _, now := h.pids(); now != server {
		t.Errorf("the server was %d and is %d", server, now)
	}
	h.umount(t, l)
}

// waitLines waits until a file has n lines with a text.
func waitLines(t testing.TB, path, text string, n int) {
	t.Helper()
	for late := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		b, _ := os.ReadFile(path)
		if bytes.Count(b, []byte(text)) >= n {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("%s has not %d lines with %q", path, n, text)
		}
	}
}

// loud is a log without its records of opens that went well.
func loud(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "msg=open") || !strings.Contains(line, "result=ok") {
			b.WriteString(line)
		}
	}
	return b.String()
}
