package integration_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a descriptor reads after a kill is what its version reads, and the TTL
// is over when it is over: a successor has no plaintext and asks for it.
func TestDescriptorsOutliveTheServer(t *testing.T) {
	l := newLab(t)
	source, dir := t.TempDir(), ""
	put(t, source+"/a.cipher", seal(t, l, "before and after"))
	if err := os.Mkdir(source+"/sub", 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, source+"/sub/b.cipher", seal(t, l, "beneath"))
	h := inBackground(t, l, source, "ttl=2s")
	dir = h.path("sub")
	f, err := os.Open(h.path("a"))
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
	before := decrypts(t, l)
	_, server := h.pids()
	syscall.Kill(server, syscall.SIGKILL)
	if got := pread(); got != "before and after" {
		t.Errorf("after the kill it reads %q", got)
	}
	if n := decrypts(t, l); n != before+1 {
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
	before = decrypts(t, l)
	time.Sleep(2100 * time.Millisecond)
	if got := pread(); got != "before and after" || decrypts(t, l) == before {
		t.Errorf("after the TTL it reads %q with %d calls", got, decrypts(t, l)-before)
	}
	// A version that is gone from the source went with the server.
	put(t, source+"/a.cipher", seal(t, l, "another"))
	server = h.serverOtherThan(t, server)
	syscall.Kill(server, syscall.SIGKILL)
	h.serverOtherThan(t, server)
	if _, err := unix.Pread(int(f.Fd()), make([]byte, 100), 0); err != syscall.ESTALE {
		t.Errorf("a replaced version reads as %v, want ESTALE", err)
	}
	if got := read(t, h.path("a")); got != "another" {
		t.Errorf("the new version reads %q", got)
	}
}

// The holder has nothing of what its servers read, and no other process of the
// same user may look into it.
func TestHolderHoldsNoPlaintext(t *testing.T) {
	needMount(t)
	l := newLab(t)
	c := newCanary()
	controlled(t, c)
	source := t.TempDir()
	put(t, source+"/a.cipher", seal(t, l, c.text))
	untracing := []string{"setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace", "--"} // as in TestProcessIsProtected
	h := inBackground(t, within(t, l, untracing...), source)
	holder, server := h.pids()
	for range 2 {
		if read(t, h.path("a")) != c.text {
			t.Error("wrong bytes")
		}
		if arena, _ := inMemory(t, server, c); len(arena) == 0 {
			t.Error("the server has not read it")
		}
		if arena, outside := inMemory(t, holder, c); len(arena)+len(outside) > 0 {
			t.Errorf("in the holder: %v %v", arena, outside)
		}
		syscall.Kill(server, syscall.SIGKILL)
		server = h.serverOtherThan(t, server)
	}
	open, _ := hold(t, newCanary(), untracing...)
	for pid, denied := range map[int]bool{open: false, holder: true} {
		o := runCommand(t, exec.Command(untracing[0], append(untracing[1:], "sh", "-c", `exec 3< "$1"`, "sh", fmt.Sprintf("/proc/%d/mem", pid))...))
		if denied != (o.code != 0 && strings.Contains(o.stderr, "denied")) {
			t.Errorf("denied: %t, want %t: exit code %d %s", !denied, denied, o.code, o.stderr)
		}
	}
	h.umount(t, l)
}

// The holder is small, keeps nothing, and dumps no core.
func TestHolder(t *testing.T) {
	l := newLab(t)
	source := t.TempDir()
	put(t, source+"/a.cipher", seal(t, l, "a"))
	h := inBackground(t, l, source)
	holder, server := h.pids()
	if got := read(t, h.path("a")); got != "a" {
		t.Errorf("reads %q", got)
	}
	rss := -1
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/status", holder))) {
		if v, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			rss, _ = strconv.Atoi(strings.Fields(v)[0])
		}
	}
	t.Logf("the holder's RssAnon is %d kB", rss)
	if rss < 0 || rss > 6<<10 {
		t.Errorf("the holder's RssAnon is %d kB", rss)
	}
	for _, pid := range []int{holder, server} {
		if limits := read(t, fmt.Sprintf("/proc/%d/limits", pid)); !strings.Contains(limits, "Max core file size        0 ") {
			t.Errorf("%d may dump core", pid)
		}
	}
	// Without the holder the server goes on, and says what that means.
	syscall.Kill(holder, syscall.SIGKILL)
	waitLines(t, h.LogFile, "the process that starts a successor has died", 1)
	if got := read(t, h.path("a")); got != "a" {
		t.Errorf("reads %q", got)
	}
	syscall.Kill(server, syscall.SIGHUP) // and can still be upgraded
	waitLines(t, h.LogFile, "successor took over", 1)
	if got := read(t, h.path("a")); got != "a" {
		t.Errorf("reads %q", got)
	}
	h.umount(t, l)
}

// Something that kills every server ends the mount with an error, never with
// readers that hang.
func TestTooManyDeaths(t *testing.T) {
	l := newLab(t)
	source := t.TempDir()
	put(t, source+"/a.cipher", seal(t, l, "a"))
	h := inBackground(t, l, source)
	for begun := time.Now(); len(processes(h.Point)) > 0; time.Sleep(time.Millisecond) {
		if _, server := h.pids(); server != 0 {
			syscall.Kill(server, syscall.SIGKILL)
		}
		if time.Since(begun) > 2*patience {
			t.Fatal("the holder does not give up")
		}
	}
	if _, err := os.ReadFile(h.path("a")); !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
		t.Errorf("a reader gets %v", err)
	}
	if log := read(t, h.LogFile); !strings.Contains(log, "the mount ends") {
		t.Error("the log does not say so")
	}
	if out, err := l.Kmsfs(nil, "umount", h.Point); err != nil {
		t.Error(out, err)
	}
	if _, err := os.Stat(filepath.Join(h.Point, "a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after umount: %v", err)
	}
}
