package secmem

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ProtectProcess keeps the process out of core dumps and debuggers of its own
// uid. RLIMIT_CORE does not bind a core_pattern that is a pipe; not being
// dumpable does, and is read back because a change of credentials resets it.
func ProtectProcess() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	if v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || v != 0 {
		return fmt.Errorf("forbid core dumps: still dumpable (%d, %w)", v, err)
	}
	return nil
}

// SmallPages keeps the kernel from giving the process 2 MB where it touches
// 4 KB, all of which would be locked. It holds for what is touched from now
// on, and for the programs that the process becomes or starts. It returns
// true if it is new, and the runtime may have got large pages before.
func SmallPages() (late bool) {
	if set, err := unix.PrctlRetInt(unix.PR_GET_THP_DISABLE, 0, 0, 0, 0); err != nil || set != 0 {
		return false
	}
	mode, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	return unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0) == nil && err == nil && bytes.Contains(mode, []byte("[always]"))
}

// LockProcess keeps the whole process out of swap: what the TLS and HTTP
// layers hold of an answer is on the heap, not in the locked arena. Pages are
// locked as they are touched, which costs nothing. It is done only where it
// cannot fail later and abort the heap: with CAP_IPC_LOCK or without a limit.
// It returns what could not be done, in words.
func LockProcess() []string {
	var limit unix.Rlimit
	unlimited := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil && limit.Cur == unix.RLIM_INFINITY
	if privileged, err := hasIPCLock(); !unlimited && (err != nil || !privileged) {
		return []string{"only the cache is locked in memory, not the whole process; " +
			"buffers that an answer passed through may be swapped out (needs CAP_IPC_LOCK or LimitMEMLOCK=infinity)"}
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil && !errors.Is(err, unix.EPERM) {
		return []string{"only the cache is locked in memory, not the whole process: " + err.Error()}
	}
	return nil
}
