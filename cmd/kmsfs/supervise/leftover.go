package supervise

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Leftovers are the processes of the service that this one is a step of, except
// itself and those given: systemd leaves them to us (KillMode=process), because
// a server outlives its holder.
func Leftovers(except ...int) (pids []int) {
	own := cgroupOf("self")
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		name := filepath.Base(dir)
		pid, _ := strconv.Atoi(name)
		if own != "" && cgroupOf(name) == own && pid != os.Getpid() && !slices.Contains(except, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// SameService tells whether a process belongs to the service of this one.
func SameService(pid int) bool {
	own := cgroupOf("self")
	return own != "" && cgroupOf(strconv.Itoa(pid)) == own
}

// cgroupOf is where systemd has put a process; empty: nowhere, or nobody knows.
func cgroupOf(pid string) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%s/cgroup", pid))
	return cgroupIn(string(b))
}

func cgroupIn(text string) string {
	unified, own := "", "" // systemd's units are in the one hierarchy or in the other
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			unified = path
		} else if _, path, ok := strings.Cut(line, ":name=systemd:"); ok {
			own = path
		}
	}
	for _, path := range []string{unified, own} {
		if path != "" && path != "/" {
			return path
		}
	}
	return ""
}

// EndLeftovers gives processes a while to end by themselves, for the mount that
// they served has ended, and then kills them.
func EndLeftovers(patience time.Duration, except ...int) {
	for late := time.Now().Add(patience); len(living(Leftovers(except...))) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().Before(late) {
			continue
		}
		for _, pid := range Leftovers(except...) {
			unix.Kill(pid, unix.SIGKILL)
		}
		if time.Now().After(late.Add(time.Second)) {
			return // one that waits in the kernel
		}
	}
}

// living are those that have not ended.
func living(pids []int) []int {
	return slices.DeleteFunc(pids, func(pid int) bool { return !Living(pid) })
}

// Living tells whether a process has not ended. One that only waits for its
// parent has, and so has one with a thread that no signal ends.
func Living(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := bytes.Cut(stat, []byte(") "))
	return err == nil && !bytes.HasPrefix(state, []byte("Z"))
}
