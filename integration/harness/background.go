package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// Background is a mount in the background: a holder, and the server it has started.
type Background struct {
	Source, Point, LogFile string
}

// InBackground mounts as a user does, and unmounts after the test what the test
// has not.
func InBackground(t testing.TB, l *lab.Lab, source string, options ...string) *Background {
	t.Helper()
	NeedMount(t)
	h := &Background{source, t.TempDir(), filepath.Join(t.TempDir(), "log")}
	args := []string{"mount", "-o", "allow_emulator,log_file=" + h.LogFile}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	if out, err := l.Kmsfs(nil, append(args, h.Source, h.Point)...); err != nil {
		t.Fatal(out, err)
	}
	t.Cleanup(func() {
		unix.Unmount(h.Point, unix.MNT_DETACH) // if the test has not
		WaitGone(t, h.Point)
		if t.Failed() {
			log := WithoutOpens(Read(t, h.LogFile))
			t.Logf("log:\n%s", log[max(0, len(log)-4000):])
		}
	})
	return h
}

// Path is a file in the mount.
func (h *Background) Path(name string) string { return filepath.Join(h.Point, name) }

// PIDs are the holder and the server, 0 where there is none.
func (h *Background) PIDs() (holder, server int) {
	parent := map[int]int{}
	for _, p := range ProcessesNaming(h.Point) {
		pid, _ := strconv.Atoi(strings.Fields(p)[0])
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		parent[pid], _ = strconv.Atoi(strings.Fields(after)[1])
	}
	for pid, ppid := range parent {
		if _, ok := parent[ppid]; ok {
			return ppid, pid
		}
	}
	for pid := range parent {
		return pid, 0
	}
	return 0, 0
}

// ServerOtherThan waits for a server that is not the one that was killed.
func (h *Background) ServerOtherThan(t testing.TB, old int) int {
	t.Helper()
	server := 0
	Eventually(t, "there is a successor of process "+Itoa(old), func() bool {
		_, server = h.PIDs()
		return server != 0 && server != old
	})
	return server
}

// Umount ends the mount as a user would.
func (h *Background) Umount(t testing.TB, l *lab.Lab) {
	t.Helper()
	if out, err := l.Kmsfs(nil, "umount", h.Point); err != nil {
		t.Fatal(out, err)
	}
	WaitGone(t, h.Point)
}
