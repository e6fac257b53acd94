package supervise

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// A service is a cgroup, in whichever hierarchy systemd has made it.
func TestCgroupIn(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/a.service\n":                                         "/system.slice/a.service",
		"5:memory:/x\n1:name=systemd:/system.slice/a.service\n0::/\n":          "/system.slice/a.service",
		"9:name=systemd:/\n8:pids:/x\n0::/system.slice/a.service\n":            "/system.slice/a.service",
		"1:name=systemd:/system.slice/b.service\n0::/system.slice/a.service\n": "/system.slice/a.service",
		"0::/\n": "", "": "", "5:memory:/x\n": "",
	} {
		if got := cgroupIn(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// One that has ended and only waits for its parent does not live.
func TestLiving(t *testing.T) {
	if !Living(os.Getpid()) {
		t.Error("this process does not live")
	}
	cmd := exec.Command("/bin/true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(20 * time.Second); Living(cmd.Process.Pid); {
		if time.Now().After(late) {
			t.Fatal("a process that has ended lives on")
		}
	}
	cmd.Wait()
	if Living(cmd.Process.Pid) || len(living([]int{os.Getpid(), cmd.Process.Pid})) != 1 {
		t.Error("one that is gone lives")
	}
}
