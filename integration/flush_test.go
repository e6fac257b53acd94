package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// flushNow flushes when the rate allows it, and returns what was printed.
func flushNow(t testing.TB, l *lab.Lab, args ...string) string {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		out, err := l.Command(append([]string{"flush"}, args...)...).CombinedOutput()
		if err == nil {
			return string(out)
		}
		if !strings.Contains(string(out), "too many flushes") || time.Since(begun) > patience {
			t.Fatalf("flush %q: %v\n%s", args, err, out)
		}
	}
}

func inEachMode(t *testing.T, test func(t *testing.T, mode string)) {
	for _, mode := range []string{"checked", "fast"} {
		t.Run(mode, func(t *testing.T) { test(t, mode) })
	}
}

// costs is how many calls the service sees during f.
func costs(t testing.TB, l *lab.Lab, f func()) int {
	t.Helper()
	before := decrypts(t, l)
	f()
	return decrypts(t, l) - before
}

// After a flush the next read asks the service again: of all files, of one,
// or of a directory, by whatever name the user gives it.
func TestFlush(t *testing.T) { inEachMode(t, testFlush) }

func testFlush(t *testing.T, mode string) {
	l := newLab(t)
	m := mount(t, l, "", "ttl=1h", "open="+mode)
	if err := os.MkdirAll(m.source("site/deep.cipher"), 0o755); err != nil {
		t.Fatal(err)
	}
	files := []string{"a", "b", "odd\xff\n", "site/c", "site/deep.cipher/d", "sitemap"}
	for _, f := range files {
		put(t, m.source(f+".cipher"), seal(t, l, fmt.Sprintf("secret %x", f)))
	}
	readAll := func() {
		for _, f := range files {
			if got := read(t, m.path(f)); got != fmt.Sprintf("secret %x", f) {
				t.Errorf("%q reads %q", f, got)
			}
		}
	}
	readAll()
	if n := costs(t, l, readAll); n != 0 {
		t.Fatalf("%d calls for cached files", n)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(m.Point, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{m.Point}, 6},
		{[]string{m.Point, "a"}, 1},
		{[]string{m.Point, "./b/../a", "odd\xff\n"}, 2},
		{[]string{m.Point, m.path("b")}, 1},
		{[]string{link, link + "/b"}, 1},
		{[]string{m.Point, "site"}, 2},
		{[]string{m.Point, "site/deep.cipher/"}, 1},
		{[]string{m.Point, "."}, 6},
		{[]string{m.Point, m.Point}, 6},
	} {
		if out := flushNow(t, l, c.args...); out != fmt.Sprintf("forgotten: %d\n", c.want) {
			t.Errorf("flush %q prints %q, want %d", c.args, out, c.want)
		}
		if n := costs(t, l, readAll); n != c.want {
			t.Errorf("flush %q: %d calls at the next reads, want %d", c.args, n, c.want)
		}
	}
	if s := asked(t, l, m.Point); s.Cache.Entries != 6 {
		t.Errorf("%d entries", s.Cache.Entries)
	}
	for _, c := range []struct{ path, want string }{
		{"nowhere", "nowhere: no such file or directory"},
		{"a/b", "a/b: no such file or directory"},
		{"../b", "is not beneath it"},
		{filepath.Dir(m.Point), "is not beneath it"},
		{"", "is not beneath it"},
	} {
		<-time.After(time.Second) // for the rate
		out, err := l.Command("flush", m.Point, c.path).CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), "kmsfs: flush ") || !strings.Contains(string(out), c.want) {
			t.Errorf("flush %q: %v\n%s", c.path, err, out)
		}
	}
	if n := costs(t, l, readAll); n != 0 {
		t.Errorf("flushes that failed cost %d calls", n)
	}
}

// Old descriptors and mappings ask again as well, and when the service
// refuses, they do not show what they showed before.
func TestFlushReachesOldDescriptors(t *testing.T) { inEachMode(t, testFlushReachesOldDescriptors) }

func testFlushReachesOldDescriptors(t *testing.T, mode string) {
	l := newLab(t)
	m := mount(t, l, "", "ttl=1h", "open="+mode)
	put(t, m.source("key.cipher"), seal(t, l, "revoked secret"))
	f, err := os.Open(m.path("key"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page, err := syscall.Mmap(int(f.Fd()), 0, 14, syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(page)
	if string(page) != "revoked secret" {
		t.Fatalf("the mapping shows %q", page)
	}
	if !resident(t, page) {
		t.Fatal("the page that was read is not in memory")
	}
	buf := make([]byte, 64)
	if n := costs(t, l, func() {
		if n, _ := f.ReadAt(buf, 0); string(buf[:n]) != "revoked secret" {
			t.Errorf("reads %q", buf[:n])
		}
	}); n != 0 {
		t.Fatalf("%d calls for what is cached", n)
	}
	put(t, m.source("key.cipher"), seal(t, l, "another version"))           // the old one is only open any more
	for begun := time.Now(); read(t, m.path("key")) != "another version"; { // fast: once inotify has told
		if mode == "checked" || time.Since(begun) > patience {
			t.Fatal("reads the old version")
		}
	}
	if err := l.Fault(map[string]any{"action": "Decrypt", "status": 403, "code": "Forbidden.NoPermission"}); err != nil {
		t.Fatal(err)
	}
	if out := flushNow(t, l, m.Point, "key"); out != "forgotten: 2\n" {
		t.Errorf("flush prints %q", out)
	}
	if resident(t, page) {
		t.Error("the kernel still has the page")
	}
	if n, err := f.ReadAt(buf, 0); err == nil || n > 0 {
		t.Errorf("the old descriptor reads %q", buf[:n])
	}
	if b, err := os.ReadFile(m.path("key")); err == nil {
		t.Errorf("a new one reads %q", b)
	}
	if err := l.ClearFaults(); err != nil {
		t.Fatal(err)
	}
	flushNow(t, l, m.Point, "key") // that it was refused is forgotten, too
	if n := costs(t, l, func() {
		if string(page) != "revoked secret" {
			t.Errorf("the mapping shows %q", page)
		}
	}); n != 1 {
		t.Errorf("%d calls at the touch of the mapping, want 1", n)
	}
}

// resident tells whether a mapped page is in memory.
func resident(t *testing.T, page []byte) bool {
	t.Helper()
	var vec [1]byte
	if _, _, errno := syscall.Syscall(syscall.SYS_MINCORE, uintptr(unsafe.Pointer(&page[0])), uintptr(len(page)), uintptr(unsafe.Pointer(&vec[0]))); errno != 0 {
		t.Fatal(errno)
	}
	return vec[0]&1 != 0
}

// A flood of flushes is no flood of calls.
func TestFlushIsLimited(t *testing.T) { inEachMode(t, testFlushIsLimited) }

func testFlushIsLimited(t *testing.T, mode string) {
	l := newLab(t)
	m := mount(t, l, "", "ttl=1h", "open="+mode)
	put(t, m.source("a.cipher"), seal(t, l, "secret"))
	begun := time.Now()
	refused, last := 0, ""
	n := costs(t, l, func() {
		for range 60 {
			if out, err := l.Command("flush", m.Point).CombinedOutput(); err != nil {
				refused++
				last = string(out)
			}
			read(t, m.path("a"))
		}
	})
	if most := 1 + 5 + int(time.Since(begun)/time.Second) + 1; n > most || refused < 60-most {
		t.Errorf("%d calls and %d refusals for 60 flushes, at most %d are affordable", n, refused, most)
	}
	if !strings.Contains(last, ": too many flushes\nhint: ") {
		t.Errorf("a refused flush prints %q", last)
	}
}

// A flush while the service hangs ends, and so does one while files load.
func TestFlushWhileLoading(t *testing.T) {
	l := newLab(t)
	m := mount(t, l, "", "timeout=3s")
	put(t, m.source("slow.cipher"), seal(t, l, "slow"))
	put(t, m.source("b.cipher"), seal(t, l, "b"))
	read(t, m.path("b"))
	if err := l.Fault(map[string]any{"action": "Decrypt", "hang": true}); err != nil {
		t.Fatal(err)
	}
	before := decrypts(t, l)
	done := make(chan error, 1)
	go func() { _, err := os.ReadFile(m.path("slow")); done <- err }()
	for begun := time.Now(); decrypts(t, l) == before; {
		if time.Since(begun) > patience {
			t.Fatal("no call")
		}
	}
	begun := time.Now()
	flushNow(t, l, m.Point)
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("a flush took %v", d)
	}
	if err := <-done; err == nil {
		t.Error("read while the service hangs")
	}
}
