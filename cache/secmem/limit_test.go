package secmem

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestJudge(t *testing.T) {
	const kib, mib = 1 << 10, 1 << 20
	for _, tc := range []struct {
		max        int
		memlock    uint64
		privileged bool
		cannot     error

		want    int
		lock    bool
		warning string // a part of it
	}{
		{max: 64 * mib, memlock: 0, privileged: true, want: 64 * mib, lock: true},
		{max: 64 * mib, memlock: unix.RLIM_INFINITY, want: 64 * mib, lock: true},
		{max: 64 * mib, memlock: math.MaxInt64, want: 64 * mib, lock: true},
		{max: 64 * mib, memlock: 65 * mib, want: 64 * mib, lock: true},
		{max: 64 * mib, memlock: 64 * mib, want: 63 * mib, lock: true, warning: "RLIMIT_MEMLOCK is 64 MiB: at most 63 MiB of plaintext are cached"},
		{max: 64 * mib, memlock: 8 * mib, want: 7 * mib, lock: true, warning: "RLIMIT_MEMLOCK is 8 MiB: at most 7 MiB"},
		{max: 1 * mib, memlock: 8 * mib, want: 1 * mib, lock: true},
		{max: 64 * mib, memlock: 2 * mib, want: 1 * mib, lock: true, warning: "at most 1 MiB"},
		{max: 64 * mib, memlock: 64 * kib, want: 32 * kib, lock: true, warning: "RLIMIT_MEMLOCK is 64 KiB: at most 32 KiB"},
		{max: 16 * kib, memlock: 64 * kib, want: 16 * kib, lock: true},
		{max: 64 * mib, memlock: 4 * kib, want: 64 * mib, warning: "cannot be locked (RLIMIT_MEMLOCK is 4 KiB)"},
		{max: 64 * mib, memlock: 0, want: 64 * mib, warning: "cannot be locked (RLIMIT_MEMLOCK is 0 bytes)"},
		{max: 64 * mib, memlock: 8 * mib, cannot: unix.EPERM, want: 64 * mib, warning: "cannot be locked (operation not permitted)"},
	} {
		got := judge(tc.max, tc.memlock, tc.privileged, tc.cannot)
		if got.max != tc.want || got.lock != tc.lock || !strings.Contains(got.warning, tc.warning) || (got.warning == "") != (tc.warning == "") {
			t.Errorf("max %d, RLIMIT_MEMLOCK %d, privileged %v, %v:\n\t%+v", tc.max, tc.memlock, tc.privileged, tc.cannot, got)
		}
		if strings.ContainsAny(got.warning, "\n") || strings.HasSuffix(got.warning, ".") {
			t.Errorf("not one sentence: %q", got.warning)
		}
	}
}

func TestNextChunk(t *testing.T) {
	for _, tc := range []struct{ size, room, want int }{
		{64, 0, 0}, {64, 64, 0}, {64, pageSize, pageSize}, {64, 3 * pageSize, 2 * pageSize},
		{64, 10 * chunkSize, chunkSize}, {chunkSize, chunkSize, chunkSize}, {chunkSize, chunkSize - pageSize, 0},
		{chunkSize + pageSize, 2 * chunkSize, chunkSize + pageSize}, {2 * pageSize, 2*pageSize - 64, 0},
	} {
		if got := nextChunk(tc.size, tc.room); got != tc.want {
			t.Errorf("a cell of %d in %d: %d, want %d", tc.size, tc.room, got, tc.want)
		}
	}
}

// The real thing: the test binary once more, with another RLIMIT_MEMLOCK, as
// nobody and so without a capability, filling an arena until it says that it is
// full.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can drop CAP_IPC_LOCK and take another uid: run this test as root")
	}
	for _, tc := range []struct {
		memlock uint64
		require bool
		want    []string
	}{
		{8 << 20, false, []string{"max 7340032", "RLIMIT_MEMLOCK is 8 MiB: at most 7 MiB", "filled 7340032 locked 7340032"}},
		{8 << 20, true, []string{"max 7340032", "filled 7340032 locked 7340032"}},
		{3 << 20, false, []string{"max 2097152", "RLIMIT_MEMLOCK is 3 MiB: at most 2 MiB", "filled 2097152 locked 2097152"}},
		{64 << 10, false, []string{"max 32768", "RLIMIT_MEMLOCK is 64 KiB: at most 32 KiB", "filled 32768 locked 32768"}},
		{0, false, []string{"max 67108864", "memory cannot be locked", "filled 67108864 locked 0"}},
		{0, true, []string{"New: secmem: memory cannot be locked"}},
	} {
		t.Run(fmt.Sprintf("%d %v", tc.memlock, tc.require), func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{
				"GORACE=atexit_sleep_ms=0",
				childMemlock + "=" + strconv.FormatUint(tc.memlock, 10),
				childRequire + "=" + strconv.FormatBool(tc.require),
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range tc.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
		})
	}
}

// In a user namespace root has CAP_IPC_LOCK, which the kernel does not honour
// for memory: only trying tells.
func TestUserNamespace(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"GORACE=atexit_sleep_ms=0", childMemlock + "=" + strconv.Itoa(3<<20), childUser + "=root"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		t.Skipf("NOT TESTED: no user namespace: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "filled 2097152 locked 2097152") {
		t.Errorf("%v\n%s", err, out)
	}
}

const (
	childUser    = "SECMEM_TEST_USER" // "root": stay it
	childMemlock = "SECMEM_TEST_MEMLOCK"
	childRequire = "SECMEM_TEST_REQUIRE"
)

// asChild is the child's main.
func asChild() {
	s, ok := os.LookupEnv(childMemlock)
	if !ok {
		return
	}
	say := func(format string, a ...any) { fmt.Printf(format+"\n", a...) }
	memlock, err := strconv.ParseUint(s, 10, 64)
	if err == nil {
		err = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: memlock, Max: memlock})
	}
	stay := os.Getenv(childUser) == "root"
	if err == nil && !stay {
		err = errors.Join(syscall.Setgid(65534), syscall.Setuid(65534))
	}
	if err == nil {
		var has bool
		if has, err = hasIPCLock(); err == nil && has != stay {
			err = fmt.Errorf("CAP_IPC_LOCK: %v", has)
		}
	}
	if err != nil {
		say("%v", err)
		os.Exit(1)
	}
	a, err := New(Config{Max: 64 << 20, RequireMlock: os.Getenv(childRequire) == "true"})
	if err != nil {
		say("New: %v", err)
		os.Exit(0)
	}
	say("max %d", a.Max())
	say("%s", a.Warning())
	for {
		b, err := a.Alloc(16 << 10)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			say("Alloc: %v", err)
			os.Exit(1)
		}
		b[0] = 1
	}
	say("filled %d locked %d", a.Stats().Used, a.Stats().Locked)
	os.Exit(0)
}
