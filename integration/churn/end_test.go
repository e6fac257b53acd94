package churn_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// clear ends a churn, also one that hangs: what still waits then is let go by
// ending its connection, and named.
func (c *churn) clear() {
	for _, r := range c.readers {
		r.cmd.Process.Kill()
	}
	for _, r := range c.readers {
		if withinTime(churnLimit, "", func() bool { return isClosed(r.ended) }) != nil {
			c.failf("a killed reader does not end:\n%s", whereabouts(r.cmd.Process.Pid))
			c.abort()
			<-r.ended
		}
	}
	processes := c.way.processes()
	if c.failed() {
		c.abort()
		c.way.discard()
		for _, pid := range c.way.processes() {
			unix.Kill(pid, unix.SIGKILL)
		}
	} else if err := c.detach(); err != nil {
		c.failf("at the end: %v\n%s", err, c.way.log())
		c.abort()
		c.way.discard()
	}
	err := withinTime(churnEnd, "the processes of the mount have ended", func() bool {
		return !slices.ContainsFunc(processes, func(pid int) bool { return unix.Kill(pid, 0) == nil })
	})
	if err != nil {
		c.failf("%v: %v", err, processes)
	}
}

// detach unmounts what nobody reads any more.
func (c *churn) detach() error {
	if s, ok := c.way.(*served); ok {
		return s.systemctl("stop")()
	}
	return patiently(c.way.command("kmsfs", "umount", c.place.point))
}

func (c *churn) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connection != nil {
		c.connection.WriteString("1")
	}
}

// table is what came of each action.
func (c *churn) table() (text string) {
	all := churnRow{}
	line := func(name string, r *churnRow) string {
		at := func(share float64) time.Duration { return r.at(share).Round(time.Microsecond) }
		return fmt.Sprintf("%-20s %-18s %6d %5d %9v %9v %9v %7v %8d %5d  %s\n",
			c.name, name, r.rounds, r.busy, at(.5), at(.99), r.longest.Round(time.Millisecond), r.start.Round(time.Millisecond), r.right, r.left, r.errors())
	}
	for _, name := range slices.Sorted(maps.Keys(c.rows)) {
		r := c.rows[name]
		all.rounds, all.busy, all.left = all.rounds+r.rounds, all.busy+r.busy, all.left+r.left
		all.add(r.waits)
		text += line(name, r)
	}
	return text + line("all", &all)
}

// churnBlobs are the files of a source.
func churnBlobs(t *testing.T, l *lab.Lab) map[string]string {
	t.Helper()
	blobs := map[string]string{}
	for _, name := range churnFiles {
		blobs[filepath.FromSlash(name+".cipher")] = harness.Seal(t, l, churnText(name))
	}
	return blobs
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
