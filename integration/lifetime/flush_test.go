package lifetime_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// After a flush the next read asks the service again: of all files, of one,
// or of a directory, by whatever name the user gives it.
func TestFlushMakesTheNextReadAsk(t *testing.T) { harness.EachModeAtOnce(t, testFlush) }

func testFlush(t *testing.T, mode string) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "ttl=1h", mode)
	if err := os.MkdirAll(m.InSource("site/deep.cipher"), 0o755); err != nil {
		t.Fatal(err)
	}
	files := []string{"a", "b", "odd\xff\n", "site/c", "site/deep.cipher/d", "sitemap"}
	for _, f := range files {
		harness.Put(t, m.InSource(f+".cipher"), harness.Seal(t, l, fmt.Sprintf("secret %x", f)))
	}
	readAll := func() {
		for _, f := range files {
			if got := harness.Read(t, m.Path(f)); got != fmt.Sprintf("secret %x", f) {
				t.Errorf("%q reads %q", f, got)
			}
		}
	}
	readAll()
	if n := harness.Cost(t, l, readAll); n != 0 {
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
		{[]string{m.Point, m.Path("b")}, 1},
		{[]string{link, link + "/b"}, 1},
		{[]string{m.Point, "site"}, 2},
		{[]string{m.Point, "site/deep.cipher/"}, 1},
		{[]string{m.Point, "."}, 6},
		{[]string{m.Point, m.Point}, 6},
	} {
		if out := harness.Flush(t, l, c.args...); out != fmt.Sprintf("forgotten: %d\n", c.want) {
			t.Errorf("flush %q prints %q, want %d", c.args, out, c.want)
		}
		if n := harness.Cost(t, l, readAll); n != c.want {
			t.Errorf("flush %q: %d calls at the next reads, want %d", c.args, n, c.want)
		}
	}
	if s := harness.StatusOf(t, l, m.Point); s.Cache.Entries != 6 {
		t.Errorf("%d entries", s.Cache.Entries)
	}
	for _, c := range []struct{ path, want string }{
		{"nowhere", "nowhere: no such file or directory"},
		{"a/b", "a/b: no such file or directory"},
		{"../b", "is not beneath it"},
		{filepath.Dir(m.Point), "is not beneath it"},
		{"", "is not beneath it"},
	} {
		out, err := harness.TryFlush(t, l, m.Point, c.path)
		if err == nil || !strings.HasPrefix(out, "kmsfs: flush ") || !strings.Contains(out, c.want) {
			t.Errorf("flush %q: %v\n%s", c.path, err, out)
		}
	}
	if n := harness.Cost(t, l, readAll); n != 0 {
		t.Errorf("flushes that failed cost %d calls", n)
	}
}

// Old descriptors and mappings ask again as well, and when the service
// refuses, they do not show what they showed before.
func TestFlushReachesOldDescriptors(t *testing.T) {
	harness.EachModeAtOnce(t, testFlushReachesOldDescriptors)
}

func testFlushReachesOldDescriptors(t *testing.T, mode string) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "ttl=1h", mode)
	harness.Put(t, m.InSource("key.cipher"), harness.Seal(t, l, "revoked secret"))
	f, err := os.Open(m.Path("key"))
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
	if n := harness.Cost(t, l, func() {
		if n, _ := f.ReadAt(buf, 0); string(buf[:n]) != "revoked secret" {
			t.Errorf("reads %q", buf[:n])
		}
	}); n != 0 {
		t.Fatalf("%d calls for what is cached", n)
	}
	harness.Put(t, m.InSource("key.cipher"), harness.Seal(t, l, "another version")) // the old one is only open any more
	if got := harness.Read(t, m.Path("key")); mode == "open=checked" && got != "another version" {
		t.Fatalf("reads the old version: %q", got)
	}
	harness.WaitRead(t, m.Path("key"), "another version") // fast: once inotify has told
	if err := l.Fault(map[string]any{"action": "Decrypt", "status": 403, "code": "Forbidden.NoPermission"}); err != nil {
		t.Fatal(err)
	}
	if out := harness.Flush(t, l, m.Point, "key"); out != "forgotten: 2\n" {
		t.Errorf("flush prints %q", out)
	}
	if resident(t, page) {
		t.Error("the kernel still has the page")
	}
	if n, err := f.ReadAt(buf, 0); err == nil || n > 0 {
		t.Errorf("the old descriptor reads %q", buf[:n])
	}
	if b, err := os.ReadFile(m.Path("key")); err == nil {
		t.Errorf("a new one reads %q", b)
	}
	if err := l.ClearFaults(); err != nil {
		t.Fatal(err)
	}
	harness.Flush(t, l, m.Point, "key") // that it was refused is forgotten, too
	if n := harness.Cost(t, l, func() {
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
func TestFlushIsLimited(t *testing.T) { harness.EachModeAtOnce(t, testFlushIsLimited) }

func testFlushIsLimited(t *testing.T, mode string) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "ttl=1h", mode)
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "secret"))
	begun := time.Now()
	refused, last := 0, ""
	n := harness.Cost(t, l, func() {
		for range 60 {
			if out, err := l.Command("flush", m.Point).CombinedOutput(); err != nil {
				refused++
				last = string(out)
			}
			harness.Read(t, m.Path("a"))
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
func TestFlushEndsWhileTheServiceHangs(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "timeout=3s")
	harness.Put(t, m.InSource("slow.cipher"), harness.Seal(t, l, "slow"))
	harness.Put(t, m.InSource("b.cipher"), harness.Seal(t, l, "b"))
	harness.Read(t, m.Path("b"))
	if err := l.Fault(map[string]any{"action": "Decrypt", "hang": true}); err != nil {
		t.Fatal(err)
	}
	before := harness.Decrypts(t, l)
	done := make(chan error, 1)
	go func() { _, err := os.ReadFile(m.Path("slow")); done <- err }()
	harness.Eventually(t, "the file is being decrypted", func() bool { return harness.Decrypts(t, l) > before })
	begun := time.Now()
	harness.Flush(t, l, m.Point)
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("a flush took %v", d)
	}
	if err := <-done; err == nil {
		t.Error("read while the service hangs")
	}
}
