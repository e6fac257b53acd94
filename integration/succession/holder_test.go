package succession_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// What a descriptor reads after a kill is what its version reads, and the TTL
// is over when it is over: a successor has no plaintext and asks for it.
func TestDescriptorsOutliveTheServer(t *testing.T) {
	l := harness.NewLab(t)
	source, dir := t.TempDir(), ""
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "before and after"))
	if err := os.Mkdir(source+"/sub", 0o700); err != nil {
		t.Fatal(err)
	}
	harness.Put(t, source+"/sub/b.cipher", harness.Seal(t, l, "beneath"))
	h := harness.InBackground(t, l, source, "ttl=2s")
	dir = h.Path("sub")
	f, err := os.Open(h.Path("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	pread := func() string {
		t.Helper()
		b := make([]byte, 100)
		n, err := unix.Pread(int(f.Fd()), b, 0)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	if got := pread(); got != "before and after" {
		t.Fatalf("reads %q", got)
	}
	before := harness.Decrypts(t, l)
	_, server := h.PIDs()
	syscall.Kill(server, syscall.SIGKILL)
	if got := pread(); got != "before and after" {
		t.Errorf("after the kill it reads %q", got)
	}
	if n := harness.Decrypts(t, l); n != before+1 {
		t.Errorf("%d calls after the kill, want 1", n-before)
	}
	if st, err := f.Stat(); err != nil || st.Size() != int64(len("before and after")) {
		t.Errorf("fstat: %v, %v", st, err)
	}
	if names, err := d.Readdirnames(-1); err != nil || len(names) != 1 || names[0] != "b" {
		t.Errorf("the open directory lists %q, %v", names, err)
	}
	fd, err := unix.Openat(int(d.Fd()), "b", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal("beneath the open directory:", err)
	}
	unix.Close(fd)
	before = harness.Decrypts(t, l)
	harness.Eventually(t, "the TTL is over", func() bool { return harness.StatusOf(t, l, h.Point).Cache.Entries == 0 })
	if got := pread(); got != "before and after" || harness.Decrypts(t, l) == before {
		t.Errorf("after the TTL it reads %q with %d calls", got, harness.Decrypts(t, l)-before)
	}
	// A version that is gone from the source went with the server.
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "another"))
	server = h.ServerOtherThan(t, server)
	syscall.Kill(server, syscall.SIGKILL)
	h.ServerOtherThan(t, server)
	if _, err := unix.Pread(int(f.Fd()), make([]byte, 100), 0); err != syscall.ESTALE {
		t.Errorf("a replaced version reads as %v, want ESTALE", err)
	}
	if got := harness.Read(t, h.Path("a")); got != "another" {
		t.Errorf("the new version reads %q", got)
	}
}

// The holder is small, keeps nothing, and dumps no core.
func TestHolderIsSmallAndMayDie(t *testing.T) {
	l := harness.NewLab(t)
	source := t.TempDir()
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "a"))
	h := harness.InBackground(t, l, source)
	holder, server := h.PIDs()
	if got := harness.Read(t, h.Path("a")); got != "a" {
		t.Errorf("reads %q", got)
	}
	rss := -1
	for line := range strings.Lines(harness.Read(t, fmt.Sprintf("/proc/%d/status", holder))) {
		if v, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			rss, _ = strconv.Atoi(strings.Fields(v)[0])
		}
	}
	t.Logf("the holder's RssAnon is %d kB", rss)
	if rss < 0 || rss > 6<<10 {
		t.Errorf("the holder's RssAnon is %d kB", rss)
	}
	for _, pid := range []int{holder, server} {
		if limits := harness.Read(t, fmt.Sprintf("/proc/%d/limits", pid)); !strings.Contains(limits, "Max core file size        0 ") {
			t.Errorf("%d may dump core", pid)
		}
	}
	// Without the holder the server goes on, and says what that means.
	syscall.Kill(holder, syscall.SIGKILL)
	harness.WaitLines(t, h.LogFile, "the process that starts a successor has died", 1)
	if got := harness.Read(t, h.Path("a")); got != "a" {
		t.Errorf("reads %q", got)
	}
	syscall.Kill(server, syscall.SIGHUP) // and can still be upgraded
	harness.WaitLines(t, h.LogFile, "successor took over", 1)
	if got := harness.Read(t, h.Path("a")); got != "a" {
		t.Errorf("reads %q", got)
	}
	h.Umount(t, l)
}

// Something that kills every server ends the mount with an error, never with
// readers that hang.
func TestTooManyDeathsEndTheMount(t *testing.T) {
	l := harness.NewLab(t)
	source := t.TempDir()
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "a"))
	h := harness.InBackground(t, l, source)
	harness.Within(t, 2*harness.Patience, "the holder gives up", func() bool {
		if _, server := h.PIDs(); server != 0 {
			syscall.Kill(server, syscall.SIGKILL)
		}
		return len(harness.ProcessesNaming(h.Point)) == 0
	})
	if _, err := os.ReadFile(h.Path("a")); !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
		t.Errorf("a reader gets %v", err)
	}
	if log := harness.Read(t, h.LogFile); !strings.Contains(log, "the mount ends") {
		t.Error("the log does not say so")
	}
	if out, err := l.Kmsfs(nil, "umount", h.Point); err != nil {
		t.Error(out, err)
	}
	if _, err := os.Stat(filepath.Join(h.Point, "a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after umount: %v", err)
	}
}
