package secrecy_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// withoutLocking runs a program as root without CAP_IPC_LOCK.
var withoutLocking = []string{"setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock", "--"}

// The process that serves may have no core file, is not dumpable, and all of it
// is locked.
func TestProcessIsProtected(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	// CAP_SYS_PTRACE would let root in anywhere; without it, root is a user
	// like others, and may look into what is his and dumpable.
	untracing := []string{"setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace", "--"}
	m := harness.Mount(t, within(t, l, untracing...), "")
	pid, _ := hold(t, newCanary(), untracing...)
	for _, file := range []string{"mem", "fd/0"} {
		look := func(pid int) harness.Outcome {
			return harness.RunCommand(t, exec.Command(untracing[0], append(untracing[1:], "sh", "-c", `exec 3< "$1"`, "sh", fmt.Sprintf("/proc/%d/%s", pid, file))...))
		}
		if o := look(pid); o.Code != 0 {
			t.Errorf("%s of a dumpable process is denied: %s", file, o.Stderr)
		}
		if o := look(m.PID); o.Code == 0 || !strings.Contains(o.Stderr, "denied") {
			t.Errorf("another process of root reads %s: exit code %d %s", file, o.Code, o.Stderr)
		}
	}
	var core string
	for line := range strings.Lines(harness.Read(t, fmt.Sprintf("/proc/%d/limits", m.PID))) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			core = strings.Join(strings.Fields(rest), " ")
		}
	}
	if core != "0 0 bytes" {
		t.Errorf("core files: %q", core)
	}
	if kb := statusOf(t, m.PID, "VmLck"); kb < 4096 {
		t.Errorf("%d kB are locked: not all of the process", kb)
	}
	for _, x := range mappings(t, m.PID) {
		if strings.HasPrefix(x.perms, "rw") && !strings.Contains(strings.Join(x.flags, " ")+" ", "lo ") {
			t.Errorf("not locked: %+v", x)
		}
	}
	if strings.Contains(m.Log(), "locked in memory") {
		t.Errorf("a warning:\n%s", m.Log())
	}
}

// A limit on locked memory costs a warning and some of the cache, and never the
// process: 200 readers of 200 files at once are served.
func TestLimitOfLockedMemoryCostsNoReader(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	source, plain := t.TempDir(), t.TempDir()
	const readers = 200
	want := func(i int) string { return harness.Lengthy("reader"+harness.Itoa(i), 1500) }
	args := []string{"encrypt", "--key", "alias/Apollo/WorkKey"}
	for i := range readers {
		harness.Put(t, plain+"/f"+harness.Itoa(i), want(i))
		args = append(args, plain+"/f"+harness.Itoa(i))
	}
	if _, err := l.Kmsfs(nil, args...); err != nil {
		t.Fatal(err)
	}
	for i := range readers {
		harness.Put(t, source+"/f"+harness.Itoa(i)+".cipher", harness.Read(t, plain+"/f"+harness.Itoa(i)+".cipher"))
	}
	var hard unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &hard); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kib     uint64 // as for ulimit -l
		warning string
	}{
		{65536, "the whole process"},
		{64, "RLIMIT_MEMLOCK is 64 KiB: at most 32 KiB of plaintext are cached"},
		{0, "memory cannot be locked"},
	} {
		t.Run(fmt.Sprintf("%d KiB", c.kib), func(t *testing.T) {
			limit := min(c.kib<<10, hard.Max)
			if limit != c.kib<<10 {
				t.Logf("only %d KiB are granted here", limit>>10)
			}
			limited := append([]string{"prlimit", fmt.Sprintf("--memlock=%d:%d", limit, limit)}, withoutLocking...)
			m := harness.Mount(t, within(t, l, limited...), source, "qps=1000")
			for _, want := range []string{"the whole process", c.warning} {
				m.WaitLog(t, "level=WARN", want)
			}
			var all sync.WaitGroup
			for i := range readers {
				all.Go(func() {
					b, err := os.ReadFile(m.Path("f" + harness.Itoa(i)))
					for errors.Is(err, syscall.ENOMEM) { // no room just now
						b, err = os.ReadFile(m.Path("f" + harness.Itoa(i)))
					}
					if err != nil || string(b) != want(i) {
						t.Errorf("%d: %d bytes, %v", i, len(b), err)
					}
				})
			}
			all.Wait()
			if err := syscall.Kill(m.PID, 0); err != nil {
				t.Errorf("the process is gone: %v\n%s", err, m.Tail())
			}
		})
	}
	// Who insists is told why not, and how.
	limited := append([]string{"prlimit", "--memlock=0:0"}, withoutLocking...)
	o := harness.RunCommand(t, within(t, l, limited...).Command("mount", "--foreground", "-o", "allow_emulator,require_mlock", source, t.TempDir()))
	if o.Code == 0 || !strings.Contains(o.Stderr, "lock memory: ") || !strings.Contains(o.Stderr, "LimitMEMLOCK=") {
		t.Errorf("require_mlock: exit code %d\n%s", o.Code, o.Stderr)
	}
}
