package secrecy_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// swapFile adds a swap device that is used before all others and is backed by
// the file that it returns. Where the machine refuses swap, the test is
// skipped, loudly.
func swapFile(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "swap")
	if err := os.WriteFile(file, make([]byte, 64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	device, err := harness.Run("losetup", "--find", "--show", file)
	if err != nil {
		t.Skipf("SKIPPED, NOT TESTED: no loop device: %v", err)
	}
	undo(t, `if grep -q "^$1 " /proc/swaps; then swapoff "$1" || exit; fi; losetup --detach "$1"`, device)
	if _, err = harness.Run("mkswap", device); err == nil {
		_, err = harness.Run("swapon", "--priority", "32767", device)
	}
	if err != nil {
		t.Skipf("SKIPPED, NOT TESTED: the machine refuses swap: %v", err)
	}
	return file
}

// pageOut does to a process what a lack of memory would: every page that may be
// swapped out is.
func pageOut(t testing.TB, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, m := range mappings(t, pid) {
		if m.name == "[vsyscall]" {
			continue
		}
		vector := struct{ base, length uint64 }{m.from, m.to - m.from}
		_, _, errno := unix.Syscall6(unix.SYS_PROCESS_MADVISE, uintptr(fd), uintptr(unsafe.Pointer(&vector)), 1, unix.MADV_PAGEOUT, 0, 0)
		refused := slices.Contains(m.flags, "lo") || slices.Contains(m.flags, "pf") // locked, or the kernel's
		switch {
		case errors.Is(errno, unix.ENOSYS):
			t.Skipf("SKIPPED, NOT TESTED: process_madvise: %v", errno)
		case errno != 0 && !refused:
			t.Fatalf("page out %+v: %v", m, errno)
		}
	}
}

// statusOf is a number of kilobytes in a process's status.
func statusOf(t testing.TB, pid int, name string) (kb int) {
	t.Helper()
	for line := range strings.Lines(harness.Read(t, fmt.Sprintf("/proc/%d/status", pid))) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			if _, err := fmt.Sscanf(rest, "%d kB", &kb); err != nil {
				t.Fatal(err)
			}
			return kb
		}
	}
	t.Fatalf("no %s", name)
	return 0
}

// No page of kmsfs is ever swapped out; without the right to lock all of its
// memory, none of the arena is.
func TestCanaryIsNeverSwappedOut(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	file := swapFile(t)
	c, limited, unprotected := newCanary(), newCanary(), newCanary()
	m := harness.Mount(t, l, "")
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, c.text))
	harness.Put(t, m.InSource("limited.cipher"), harness.Seal(t, l, limited.text))
	n := harness.Mount(t, within(t, l, withoutLocking...), m.Source)
	harness.Read(t, m.Path("a"))
	harness.Read(t, n.Path("limited"))
	arena, outside := inMemory(t, n.PID, limited)
	if len(arena) != 1 {
		t.Errorf("in the arena: %v", arena)
	}
	pageOut(t, m.PID)
	pageOut(t, n.PID)
	pid, _ := hold(t, unprotected)
	pageOut(t, pid)

	// What was paged out last is on its way.
	harness.Eventually(t, "the unprotected process's memory in swap", func() bool { return len(inFile(t, file, unprotected)) > 0 })
	if found := inFile(t, file, c); len(found) > 0 {
		t.Errorf("in swap: %v", found)
	}
	t.Logf("swapped out: %d kB of the unprotected process, %d kB of kmsfs, %d kB of kmsfs with a limit",
		statusOf(t, pid, "VmSwap"), statusOf(t, m.PID, "VmSwap"), statusOf(t, n.PID, "VmSwap"))
	if kb := statusOf(t, m.PID, "VmSwap"); kb != 0 {
		t.Errorf("%d kB of kmsfs are in swap", kb)
	}
	if kb := statusOf(t, n.PID, "VmSwap"); kb == 0 {
		t.Error("nothing of a process that does not lock all its memory is in swap")
	}
	found := inFile(t, file, limited)
	t.Logf("with a limit, %d copies outside the arena, and %d in swap", len(outside), len(found))
	if len(found) > len(outside) {
		t.Errorf("more than was outside the arena: %v", found)
	}
	for p, want := range map[string]string{m.Path("a"): c.text, n.Path("limited"): limited.text} {
		if harness.Read(t, p) != want {
			t.Errorf("%s: wrong bytes", p)
		}
	}
}
