package mounting_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	mounts "github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/integration/harness"
)

// Without /dev/fuse the message says so. The device is hidden in a mount
// namespace of its own.
func TestNoFuseDeviceIsSaid(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	src, mnt := t.TempDir(), t.TempDir()
	cmd := exec.Command("unshare", "-m", "sh", "-c", `mount -t tmpfs none /dev && exec "$@"`, "sh", filepath.Join(harness.BinDir, "kmsfs"), "mount", "-o", "allow_emulator", src, mnt)
	cmd.Env = l.Env()
	o := harness.RunCommand(t, cmd)
	if o.Code != 1 || !strings.Contains(o.Stderr, "kmsfs: open /dev/fuse: no such file") || !strings.Contains(o.Stderr, "hint: ") {
		t.Errorf("exit code %d:\n%s", o.Code, o.Stderr)
	}
}

// The ordinary way: the command returns when the mount answers, the process
// behind it holds nothing of the caller's, and umount ends it.
func TestBackgroundHoldsNothingOfItsCaller(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	src, mnt, log := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "log")
	harness.Put(t, src+"/a.cipher", harness.Seal(t, l, "in the background"))
	extra, err := os.CreateTemp(t.TempDir(), "inherited")
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	cmd := l.Command("mount", "-o", "allow_emulator,log_file="+log, src, mnt)
	cmd.ExtraFiles = []*os.File{extra}
	o := harness.RunCommand(t, cmd) // would hang if the process kept stdout or stderr
	if o.Code != 0 || o.Stdout != "" || strings.Contains(o.Stderr, "hint") {
		t.Fatalf("exit code %d:\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	if got := harness.Read(t, mnt+"/a"); got != "in the background" {
		t.Errorf("reads %q", got)
	}
	holder, server := (&harness.Background{Point: mnt}).PIDs()
	if len(harness.ProcessesNaming(mnt)) != 2 || server == 0 {
		t.Fatalf("processes: %q", harness.ProcessesNaming(mnt))
	}
	leftTheTerminal(t, holder)
	leftTheTerminal(t, server)
	cmd = l.Command("mount", "-o", "allow_emulator,log_file="+log, src, mnt)
	if o := harness.RunCommand(t, cmd); o.Code != 1 || !strings.Contains(o.Stderr, "already") {
		t.Errorf("a second mount: exit code %d\n%s", o.Code, o.Stderr)
	}
	f, err := os.Open(mnt + "/a")
	if err != nil {
		t.Fatal(err)
	}
	if o := harness.RunCommand(t, l.Command("umount", mnt)); o.Code != 1 || !strings.Contains(o.Stderr, "busy") || !strings.Contains(o.Stderr, "hint: ") {
		t.Errorf("umount while a file is open: exit code %d\n%s", o.Code, o.Stderr)
	}
	f.Close()
	if o := harness.RunCommand(t, l.Command("umount", mnt)); o.Code != 0 {
		t.Errorf("umount: exit code %d\n%s", o.Code, o.Stderr)
	}
	harness.WaitGone(t, mnt)
	if !strings.Contains(harness.Read(t, log), "msg=unmounted") {
		t.Errorf("log:\n%s", harness.Read(t, log))
	}
	if st, err := os.Stat(log); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the log is %v (%v)", st.Mode(), err)
	}
}

// A mountpoint may be named in any way: relative, through links, with odd
// characters; and a mount whose process was killed can still be told and
// unmounted.
func TestMountpointMayBeNamedInAnyWay(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	source, dir := t.TempDir(), t.TempDir()
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "anywhere"))
	odd := "new\nline, and \\040 blank"
	for _, d := range []string{"real", "real/deep", odd} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"link": "real/deep", "chain": "link", "abs": filepath.Join(dir, "real")} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(t.TempDir(), "log")
	run := func(args ...string) harness.Outcome {
		t.Helper()
		cmd := l.Command(args...)
		cmd.Dir = dir
		return harness.RunCommand(t, cmd)
	}
	for _, name := range []string{"real/deep", "./real/../real/deep", "link", "chain", "abs/deep", odd} {
		if o := run("mount", "-o", "allow_emulator,log_file="+log, source, name); o.Code != 0 {
			t.Errorf("mount %q: %s", name, o.Stderr)
			continue
		}
		if got := harness.Read(t, filepath.Join(dir, name, "a")); got != "anywhere" {
			t.Errorf("%q reads %q", name, got)
		}
		if o := run("mount", "-o", "allow_emulator,log_file="+log, source, name); o.Code != 1 || !strings.Contains(o.Stderr, "mounted there already") {
			t.Errorf("a second mount on %q: exit code %d, %s", name, o.Code, o.Stderr)
		}
		if name == "chain" { // kill what serves it
			holder, server := (&harness.Background{Point: source}).PIDs()
			syscall.Kill(holder, syscall.SIGKILL) // first: it would start another one
			syscall.Kill(server, syscall.SIGKILL)
			harness.WaitGone(t, source)
			harness.Eventually(t, "the kernel knows that the mount is dead", func() bool {
				_, err := os.ReadDir(filepath.Join(dir, name))
				return errors.Is(err, syscall.ENOTCONN)
			})
		}
		if name == "chain" { // the dead one makes room
			if o := run("mount", "-o", "allow_emulator,log_file="+log, source, name); o.Code != 0 || harness.Read(t, filepath.Join(dir, name, "a")) != "anywhere" {
				t.Errorf("over a dead mount: exit code %d, %s", o.Code, o.Stderr)
			}
		}
		if o := run("umount", name); o.Code != 0 {
			t.Errorf("umount %q: %s", name, o.Stderr)
		}
		harness.WaitGone(t, source)
	}
}

// Nobody has to read the log: opens go on when its reader has stopped, and
// the mount when it has gone.
func TestUnreadLogStopsNobody(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	source, point := t.TempDir(), t.TempDir()
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "unread"))
	cmd := l.Command("mount", "--foreground", "-o", "allow_emulator", source, point)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	harness.Eventually(t, "it is mounted", func() bool {
		b, err := os.ReadFile(point + "/a")
		return err == nil && string(b) == "unread"
	})
	reader := harness.NewReader(t)
	for i := range 1500 { // a pipe holds some 250 lines
		if b, err := reader.Read(point+"/a", 5*time.Second); err != nil || string(b) != "unread" {
			t.Fatalf("open %d: %q, %v", i, b, err)
		}
	}
	r.Close()
	for range 50 {
		if got := harness.Read(t, point+"/a"); got != "unread" {
			t.Errorf("without a reader of the log: %q", got)
		}
	}
}

// A signal unmounts, also while files are open, and the process ends.
func TestSignalUnmountsAndEnds(t *testing.T) {
	l := harness.NewLab(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for _, busy := range []bool{false, true} {
			m := harness.Mount(t, l, "")
			harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "a"))
			var held *os.File
			if busy {
				var err error
				if held, err = os.Open(m.Path("a")); err != nil {
					t.Fatal(err)
				}
			}
			m.Signal(t, sig)
			m.WaitEnd(t)
			if _, ok, err := mounts.At(m.Point); ok || err != nil {
				t.Errorf("%v, busy %t: still mounted (%v)", sig, busy, err)
			}
			if busy {
				if _, err := held.Read(make([]byte, 1)); err == nil {
					t.Error("a descriptor outlived the process")
				}
				held.Close()
			}
		}
	}
}

// Under the names that mount(8) calls, only options say where the service is,
// and the exit codes are mount(8)'s.
func TestHelperNamesHaveTheCodesOfMount8(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	src, mnt := t.TempDir(), t.TempDir()
	harness.Put(t, src+"/a.cipher", harness.Seal(t, l, "by mount(8)"))
	helper := filepath.Join(t.TempDir(), "mount.kmsfs")
	if err := os.Symlink(filepath.Join(harness.BinDir, "kmsfs"), helper); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	given := "rw,nosuid,_netdev,allow_emulator,log_file=" + log + ",endpoint=" + l.Endpoint + ",ca_file=" + l.CAFile
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{src, mnt, "-o", "frob"}, 1, "unknown"},
		{[]string{src}, 1, "MNT is missing"},
		{[]string{src + "/none", mnt, "-o", given}, 32, "open source"},
		{[]string{src, mnt, "-f", "-o", given}, 0, ""},
		// KMSFS_CA_FILE and KMSFS_ENDPOINT are set but do not count: the real
		// service's name is used, and no test authority is refused.
		{[]string{src, mnt, "-o", "ca_file=" + l.CAFile}, 32, "TEST ONLY"},
		{[]string{src, mnt, "-s", "-n", "-o", given}, 0, ""},
	} {
		cmd := exec.Command(helper, c.args...)
		cmd.Env = l.Env()
		o := harness.RunCommand(t, cmd)
		if o.Code != c.code || !strings.Contains(o.Stderr, c.says) {
			t.Errorf("%q: exit code %d, want %d and %q:\n%s", c.args, o.Code, c.code, c.says, o.Stderr)
		}
	}
	if got := harness.Read(t, mnt+"/a"); got != "by mount(8)" {
		t.Errorf("reads %q", got)
	}
	if !strings.Contains(harness.Read(t, log), "msg=mounted") {
		t.Error("not logged")
	}
	if o := harness.RunCommand(t, l.Command("umount", mnt)); o.Code != 0 {
		t.Errorf("umount: %s", o.Stderr)
	}
	harness.WaitGone(t, mnt)
	cmd := exec.Command(filepath.Join(harness.BinDir, "kmsfs"), src, mnt, "-o", given)
	cmd.Env = l.Env()
	if o := harness.RunCommand(t, cmd); o.Code != 0 {
		t.Errorf("the bare form: exit code %d\n%s", o.Code, o.Stderr)
	}
	if o := harness.RunCommand(t, l.Command("umount", mnt)); o.Code != 0 {
		t.Errorf("umount: %s", o.Stderr)
	}
	harness.WaitGone(t, mnt)
}

// leftTheTerminal checks that a process holds nothing of who started it. The
// holder and the server have a pipe between them.
func leftTheTerminal(t *testing.T, pid int) {
	t.Helper()
	of := fmt.Sprint("/proc/", pid)
	fds, err := os.ReadDir(of + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, _ := os.Readlink(of + "/fd/" + fd.Name())
		number, _ := strconv.Atoi(fd.Name())
		if strings.Contains(target, "inherited") || number < 3 && target != os.DevNull {
			t.Errorf("it holds descriptor %s → %s", fd.Name(), target)
		}
	}
	if cwd, err := os.Readlink(of + "/cwd"); err != nil || cwd != "/" {
		t.Errorf("it works in %s (%v)", cwd, err)
	}
}
