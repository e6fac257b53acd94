package secmem

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// headroom is left of RLIMIT_MEMLOCK for whatever else the process locks.
const headroom = 1 << 20

// verdict is how much memory may be used, and whether it is locked.
type verdict struct {
	max     int
	lock    bool
	warning string
}

// lockable asks the system how much of max bytes can be locked.
func lockable(max int) (verdict, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return verdict{}, fmt.Errorf("secmem: RLIMIT_MEMLOCK: %w", err)
	}
	privileged, err := hasIPCLock()
	if err != nil {
		return verdict{}, fmt.Errorf("secmem: capabilities: %w", err)
	}
	// In a user namespace CAP_IPC_LOCK is there and does not count: only
	// locking the full length tells.
	if privileged && probe(max) != nil {
		privileged = false
	}
	return judge(max, limit.Cur, privileged, probe(pageSize)), nil
}

// judge decides from what lockable found out. cannot is why not even one page
// can be locked, or nil.
func judge(max int, memlock uint64, privileged bool, cannot error) verdict {
	if privileged {
		return verdict{max: max, lock: true}
	}
	room := max
	switch {
	case memlock <= 2*headroom:
		room = min(max, int(memlock/2)&^(pageSize-1))
	case memlock-headroom < uint64(max):
		room = int(memlock-headroom) &^ (pageSize - 1)
	}
	if cannot == nil && room < pageSize {
		cannot = errors.New("RLIMIT_MEMLOCK is " + sizeText(memlock))
	}
	if cannot != nil {
		return verdict{max: max, warning: fmt.Sprintf("memory cannot be locked (%v): plaintext may reach swap "+
			"(grant CAP_IPC_LOCK, or raise LimitMEMLOCK= or ulimit -l)", cannot)}
	}
	v := verdict{max: room, lock: true}
	if room < max {
		v.warning = fmt.Sprintf("RLIMIT_MEMLOCK is %s: at most %s of plaintext are cached (raise LimitMEMLOCK= or ulimit -l)",
			sizeText(memlock), sizeText(uint64(room)))
	}
	return v
}

// probe finds out whether n bytes can be locked, without touching them.
func probe(n int) error {
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(mem) }()
	_, _, errno := unix.Syscall(unix.SYS_MLOCK2, address(mem), uintptr(n), unix.MLOCK_ONFAULT)
	switch errno {
	case 0:
		return nil
	case unix.ENOSYS: // a sandbox that knows only the old call
		return unix.Mlock(mem[:pageSize])
	}
	return errno
}

func hasIPCLock() (bool, error) {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return false, err
	}
	return data[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0, nil
}

func sizeText(n uint64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
