package mounting_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// A mount needs no working directory unless it is told of a relative path.
func TestMountNeedsNoWorkingDirectory(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	source, point, gone := t.TempDir(), t.TempDir(), t.TempDir()
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "from nowhere"))
	log := filepath.Join(t.TempDir(), "log")
	run := func(args ...string) harness.Outcome {
		cmd := exec.Command("sh", append([]string{"-c", `d=$1; shift; mkdir "$d/d" && cd "$d/d" && rmdir "$d/d" && exec "$@"`, "sh", gone, filepath.Join(harness.BinDir, "kmsfs")}, args...)...)
		cmd.Env = l.Env()
		return harness.RunCommand(t, cmd)
	}
	for _, args := range [][]string{
		{"mount", "-o", "allow_emulator", "source", point}, {"mount", "-o", "allow_emulator", source, "point"},
		{"mount", "-o", "allow_emulator,log_file=log", source, point}, {"mount", "-o", "allow_emulator,ca_file=ca.pem", source, point},
	} {
		if o := run(args...); o.Code != 1 || !strings.Contains(o.Stderr, "the working directory: no such file or directory") || !strings.Contains(o.Stderr, "hint: the directory has been removed") {
			t.Errorf("%q: exit code %d\n%s", args, o.Code, o.Stderr)
		}
	}
	if o := run("mount", "-o", "allow_emulator,log_file="+log, source, point); o.Code != 0 {
		t.Fatalf("exit code %d\n%s", o.Code, o.Stderr)
	}
	if got := harness.Read(t, point+"/a"); got != "from nowhere" {
		t.Errorf("reads %q", got)
	}
	if _, server := (&harness.Background{Point: point}).PIDs(); server != 0 { // whoever succeeds it has none either
		syscall.Kill(server, syscall.SIGKILL)
	}
	if got := harness.Read(t, point+"/a"); got != "from nowhere" {
		t.Errorf("after its server was killed: reads %q", got)
	}
	if o := run("status", point); o.Code != 0 {
		t.Errorf("status: exit code %d\n%s", o.Code, o.Stderr)
	}
	if o := run("umount", point); o.Code != 0 {
		t.Errorf("umount: exit code %d\n%s", o.Code, o.Stderr)
	}
	harness.WaitGone(t, point)
}
