package churn_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// withinTime waits for a condition.
func withinTime(limit time.Duration, what string, done func() bool) error {
	for begun := time.Now(); !done(); rest(10 * time.Millisecond) {
		if time.Since(begun) > limit {
			return fmt.Errorf("not within %v: %s", limit, what)
		}
	}
	return nil
}

func tailOf(path string) string {
	b, _ := os.ReadFile(path)
	log := harness.WithoutOpens(string(b))
	return log[max(0, len(log)-6000):]
}

func parentOf(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	if f := strings.Fields(after); len(f) > 1 {
		ppid, _ := strconv.Atoi(f[1])
		return ppid
	}
	return 0
}

// threadsOf are the threads of a process that are in a state, such as D.
func threadsOf(pid int, state string) (found []int) {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range stats {
		b, _ := os.ReadFile(path)
		if _, after, _ := strings.Cut(string(b), ") "); strings.HasPrefix(after, state) {
			tid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			found = append(found, tid)
		}
	}
	return found
}

// whereabouts tells where the threads of a process are in the kernel.
func whereabouts(pid int) string {
	var b strings.Builder
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		one := func(name string) string {
			text, _ := os.ReadFile(filepath.Join(task, name))
			return strings.TrimSpace(string(text))
		}
		_, after, _ := strings.Cut(one("stat"), ") ")
		if !strings.HasPrefix(after, "D") && !strings.HasPrefix(after, "Z") && !strings.Contains(one("stack"), "fuse") {
			continue // it waits for nothing of a file system's
		}
		fmt.Fprintf(&b, "  process %d (%s), thread %s, state %.1s, wchan %s, syscall %s\n", pid, one("comm"), filepath.Base(task), after, one("wchan"), one("syscall"))
		for line := range strings.Lines(one("stack")) {
			fmt.Fprintf(&b, "      %s\n", strings.TrimSpace(line))
		}
	}
	return b.String()
}
