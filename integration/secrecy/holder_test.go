package secrecy_test

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// The holder has nothing of what its servers read, and no other process of the
// same user may look into it.
func TestHolderHoldsNoPlaintext(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	c := newCanary()
	controlled(t, c)
	source := t.TempDir()
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, c.text))
	untracing := []string{"setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace", "--"} // as in TestProcessIsProtected
	h := harness.InBackground(t, within(t, l, untracing...), source)
	holder, server := h.PIDs()
	for range 2 {
		if harness.Read(t, h.Path("a")) != c.text {
			t.Error("wrong bytes")
		}
		if arena, _ := inMemory(t, server, c); len(arena) == 0 {
			t.Error("the server has not read it")
		}
		if arena, outside := inMemory(t, holder, c); len(arena)+len(outside) > 0 {
			t.Errorf("in the holder: %v %v", arena, outside)
		}
		syscall.Kill(server, syscall.SIGKILL)
		server = h.ServerOtherThan(t, server)
	}
	open, _ := hold(t, newCanary(), untracing...)
	for pid, denied := range map[int]bool{open: false, holder: true} {
		o := harness.RunCommand(t, exec.Command(untracing[0], append(untracing[1:], "sh", "-c", `exec 3< "$1"`, "sh", fmt.Sprintf("/proc/%d/mem", pid))...))
		if denied != (o.Code != 0 && strings.Contains(o.Stderr, "denied")) {
			t.Errorf("denied: %t, want %t: exit code %d %s", !denied, denied, o.Code, o.Stderr)
		}
	}
	h.Umount(t, l)
}
