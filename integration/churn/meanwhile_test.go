package churn_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// replace puts a new version of a file into the source, with the same bytes.
func (c *churn) replace(name string) error {
	path := filepath.Join(c.place.source, name)
	beside := filepath.Join(filepath.Dir(path), ".new")
	if err := os.WriteFile(beside, []byte(c.blobs[name]), 0o600); err != nil {
		return err
	}
	return os.Rename(beside, path)
}

// stuck are the processes that the kernel does not let go, and whose wait does
// not end in time.
func (c *churn) stuck(processes []int) (left []int) {
	for _, pid := range processes {
		if withinTime(churnLimit, "", func() bool { return len(threadsOf(pid, "D")) == 0 }) != nil {
			c.failf("process %d is left in the kernel:\n%s", pid, whereabouts(pid))
			left = append(left, pid)
		}
	}
	return left
}

// touch changes the source every 20 ms.
func (c *churn) touch(over <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	names := slices.Sorted(maps.Keys(c.blobs))
	for n := 0; ; n++ {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		name := names[rand.IntN(len(names))]
		if n%2 == 0 {
			c.replace(name)
		} else {
			os.Chtimes(filepath.Join(c.place.source, name), time.Time{}, time.Now())
		}
	}
}

// flush has all plaintext forgotten each second.
func (c *churn) flush(over <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		if err := patiently(c.way.command("kmsfs", "flush", c.place.point)); err != nil && strings.Contains(err.Error(), " hangs") {
			c.failf("%v", err)
		}
	}
}

// watch says who waits too long, and for whom, while that is to be seen; and ends
// the connection for one that hangs.
func (c *churn) watch(over <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	seen := map[*churner]int64{}
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		for _, r := range c.readers {
			waited, begun := r.waiting()
			if limit := time.Duration(c.limit.Load()); waited > limit+churnEnd {
				c.failf("%s waited for %v, and the connection is aborted\n%s", r.role, waited, c.overdue())
				c.abort()
			} else if waited > limit && seen[r] != begun {
				seen[r] = begun
				text := fmt.Sprintf("%s waits for %v:\n%s", r.role, waited, whereabouts(r.cmd.Process.Pid))
				if serving := c.serving.Load(); serving != nil {
					for _, pid := range *serving {
						text += whereabouts(pid)
					}
				}
				c.mu.Lock()
				c.late = append(c.late, text)
				c.mu.Unlock()
			}
		}
	}
}

// overdue is who was seen to wait for too long, and for whom.
func (c *churn) overdue() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.late, "")
}
