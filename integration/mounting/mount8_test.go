package mounting_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// mountForms are the ways to say it to mount(8) and in /etc/fstab. OPTIONS is
// replaced.
var mountForms = []struct {
	name    string
	fstab   string // a line, if mount(8) reads it there
	command string
	fuse3   bool // through mount.fuse3 and the bare form
}{
	{"type fuse.kmsfs", "", "mount -t fuse.kmsfs /srv/src /srv/mnt -o OPTIONS", false},
	{"type kmsfs", "", "mount -t kmsfs /srv/src /srv/mnt -o OPTIONS", false},
	{"options at the end, in parts, overridden", "", "mount -t kmsfs -o rw,dev,suid,exec -o _netdev,nofail,user,x-a.b=c /srv/src /srv/mnt -o OPTIONS -o ro,noatime", false},
	{"sloppy and verbose", "", "mount -v -n -s -t fuse.kmsfs /srv/src /srv/mnt -o frob=1,OPTIONS", false},
	{"relative", "", "mount -t kmsfs src mnt -o OPTIONS", false},
	{"fstab kmsfs", "/srv/src /srv/mnt kmsfs defaults,_netdev,nofail,x-systemd.automount,OPTIONS 0 0", "mount -T /srv/fstab -a", false},
	{"fstab fuse.kmsfs", "/srv/src /srv/mnt fuse.kmsfs noauto,comment=x,OPTIONS 0 0", "mount --fstab /srv/fstab /srv/mnt", false},
	{"fstab kmsfs#", "kmsfs#/srv/src /srv/mnt fuse _netdev,nofail,user,x-a=b,OPTIONS 0 0", "mount -T /srv/fstab -a", true},
	{"fuse.kmsfs without a helper", "", "mount -t fuse.kmsfs /srv/src /srv/mnt -o rw,OPTIONS", true},
	{"drop_privileges", "", "mount -t fuse.kmsfs /srv/src /srv/mnt -o drop_privileges,ro,nosuid,nodev,noexec,default_permissions,OPTIONS", true},
	{"setuid", "", "mount -t fuse.kmsfs /srv/src /srv/mnt -o setuid=" + harness.UserName + ",allow_other,OPTIONS", true},
	{"setuid and drop_privileges", "", "mount -t fuse.kmsfs /srv/src /srv/mnt -o setuid=" + harness.UserName + ",drop_privileges,allow_other,ro,nosuid,nodev,noexec,default_permissions,OPTIONS", true},
}

// However it is said: it mounts, serves, is safe and private, can be neither
// remounted nor mounted again, and ends with umount(8).
func TestMountCommandServesAndIsPrivate(t *testing.T) {
	l := harness.NewLab(t)
	with := harness.NewGuest(t, l, "mount.kmsfs", "mount.fuse.kmsfs")
	without := harness.NewGuest(t, l)
	for _, c := range mountForms {
		t.Run(c.name, func(t *testing.T) {
			m := with
			if c.fuse3 {
				m = without
				m.Put(t, "/etc/fuse.conf", "user_allow_other\n", 0o644)
			}
			if strings.Contains(c.name, "setuid") {
				m.Must(t, "chown", harness.UserName, "/srv/mnt")
				defer m.Must(t, "chown", "root", "/srv/mnt")
			}
			m.Put(t, "/srv/fstab", strings.ReplaceAll(c.fstab, "OPTIONS", m.Options())+"\n", 0o644)
			args := strings.Fields(strings.ReplaceAll(c.command, "OPTIONS", m.Options()))
			o := m.Run(t, args...)
			if o.Code != 0 || strings.Contains(o.Stderr, "kmsfs: mount") {
				t.Fatalf("exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
			}
			if got := harness.Read(t, m.Outside("/srv/mnt/a")); got != "on the guest" {
				t.Errorf("reads %q", got)
			}
			lines := m.Mounts("/srv/mnt")
			if len(lines) != 1 {
				t.Fatalf("mounted: %q", lines)
			}
			for _, option := range []string{"ro", "nosuid", "nodev", "noexec", "default_permissions"} {
				if !strings.Contains(strings.ReplaceAll(strings.TrimSpace(lines[0])+" ", " ", ","), ","+option+",") {
					t.Errorf("%s is not in force: %s", option, lines[0])
				}
			}
			if strings.Contains(lines[0], "shared:") {
				t.Errorf("not private: %s", lines[0])
			}
			for _, pid := range m.Processes() {
				env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
				if err != nil || !c.fuse3 && (strings.Contains("\x00"+string(env), "\x00HOME=") || strings.Contains("\x00"+string(env), "\x00PATH=")) {
					t.Errorf("its environment: %q (%v)", env, err)
				}
			}
			if o := m.Run(t, "mount", "-o", "remount,ttl=5m", "/srv/mnt"); o.Code != 32 || !strings.Contains(o.Stderr, "kmsfs: remount: a mount of kmsfs cannot be changed") || !strings.Contains(o.Stderr, "hint: ") {
				t.Errorf("remount: exit code %d\n%s", o.Code, o.Stderr)
			}
			if strings.Contains(c.name, "drop_privileges") {
				// mount.fuse3 itself mounts, before kmsfs is asked.
			} else if o := m.Run(t, strings.Fields("mount -t fuse.kmsfs /srv/src /srv/mnt -o "+m.Options())...); o.Code != 32 || !strings.Contains(o.Stderr, "mounted there already") {
				t.Errorf("once more: exit code %d\n%s", o.Code, o.Stderr)
			}
			if lines := m.Mounts("/srv/mnt"); len(lines) != 1 {
				t.Errorf("stacked: %q", lines)
			}
			m.Must(t, "umount", "/srv/mnt")
			m.Idle(t)
		})
	}
}

// What fails is said on stderr, with mount(8)'s exit codes, and leaves nothing.
func TestMountCommandThatFailsLeavesNothing(t *testing.T) {
	l := harness.NewLab(t)
	with := harness.NewGuest(t, l, "mount.kmsfs", "mount.fuse.kmsfs")
	without := harness.NewGuest(t, l)
	const handedIn = "mount -t fuse.kmsfs /srv/src /srv/mnt -o drop_privileges,OPTIONS,"
	for _, c := range []struct {
		m       *harness.Guest
		command string
		code    int
		says    string
		hint    string
		stays   bool // mount.fuse3 has mounted and gone
	}{
		{with, "mount -t kmsfs /srv/src /srv/mnt -o frob,OPTIONS", 1, `read option "frob": unknown`, "--help", false},
		{with, "mount -t kmsfs /srv/src /srv/mnt -o ttl=never,OPTIONS", 1, "not a duration", "", false},
		{with, "mount -t kmsfs -s /srv/src /srv/mnt -o ttl=never,OPTIONS", 1, "not a duration", "", false},
		{with, "mount -t kmsfs /srv/src /srv/mnt -o uid=nobody-at-all,OPTIONS", 1, `"nobody-at-all" is neither a number nor a user`, "", false},
		{with, "mount -t kmsfs /srv/src /srv/mnt -o gid=nobody-at-all,OPTIONS", 1, `"nobody-at-all" is neither a number nor a group`, "", false},
		{with, "mount -t kmsfs /srv/none /srv/mnt -o OPTIONS", 32, "open source", "SRC is the directory", false},
		{with, "mount.kmsfs /srv/src /srv/none -o OPTIONS", 32, "open mountpoint", "mkdir", false},
		{with, "mount -t kmsfs /srv/src /srv/etc -o OPTIONS", 32, "not empty", "nonempty", false},
		{with, "mount.kmsfs /srv/src", 1, "MNT is missing", "usage", false},
		{with, "mount -t kmsfs /srv/src /srv/mnt -o ca_file=/srv/ca.pem", 32, "TEST ONLY", "allow_emulator", false},
		{without, "kmsfs /srv/src /srv/mnt -o frob,OPTIONS", 1, `read option "frob": unknown`, "--help", false},
		{without, "mount -t fuse.kmsfs /srv/none /srv/mnt -o OPTIONS", 32, "open source", "SRC is the directory", false},
		{without, handedIn + "ro,nosuid,nodev,noexec", 32, "option default_permissions is not in force", "in /etc/fstab add: ro,nosuid,nodev,noexec,default_permissions", true},
		{without, handedIn + "nosuid,nodev,noexec,default_permissions", 32, "option ro is not in force", "in /etc/fstab add", true},
		{without, handedIn + "allow_other,ro,nosuid,nodev,noexec", 32, "option default_permissions is not in force", "in /etc/fstab add", true},
		{without, "kmsfs /srv/src /dev/fd/0 -o OPTIONS", 32, "no descriptor of /dev/fuse", "", false},
		{without, "kmsfs /srv/src /dev/fd/03 -o OPTIONS", 32, "no descriptor of /dev/fuse", "", false},
		{without, "kmsfs /srv/src /dev/fd/77 -o OPTIONS", 32, "no descriptor of /dev/fuse", "", false},
	} {
		o := c.m.Run(t, strings.Fields(strings.ReplaceAll(c.command, "OPTIONS", c.m.Options()))...)
		if o.Code != c.code || !strings.Contains(o.Stderr, c.says) || !strings.Contains(o.Stderr, c.hint) || o.Stdout != "" {
			t.Errorf("%s: exit code %d, want %d, %q and %q:\n%s%s", c.command, o.Code, c.code, c.says, c.hint, o.Stdout, o.Stderr)
		}
		if c.stays {
			// A dead mount, which the next kmsfs mount replaces.
			if _, err := os.ReadDir(c.m.Outside("/srv/mnt")); err == nil {
				t.Errorf("%s: it is served", c.command)
			}
			c.m.Must(t, "kmsfs", "mount", "/srv/src", "/srv/mnt", "-o", c.m.Options())
			if got := harness.Read(t, c.m.Outside("/srv/mnt/a")); got != "on the guest" {
				t.Errorf("after it: reads %q", got)
			}
			c.m.Must(t, "kmsfs", "umount", "/srv/mnt")
		}
		c.m.Idle(t)
	}
	// Without its own file the program cannot start in the background: that is
	// no fault of the mount.
	with.Install(t, "/srv/lost")
	if o := with.Run(t, "bash", "-c", "exec 9< /srv/lost; rm /srv/lost; exec -a mount.kmsfs /proc/self/fd/9 /srv/src /srv/mnt -o "+with.Options()); o.Code != 2 || !strings.Contains(o.Stderr, "kmsfs: start in the background: ") {
		t.Errorf("without its file: exit code %d\n%s", o.Code, o.Stderr)
	}
	// mount -f is fake.
	with.Must(t, strings.Fields("mount -f -t kmsfs /srv/src /srv/mnt -o "+with.Options())...)
	with.Idle(t)
}

// mount -N mounts in another namespace, whose paths count.
func TestMountTakesThePathsOfAnotherNamespace(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.NewGuest(t, l, "mount.kmsfs")
	other := harness.NewGuest(t, l, "mount.kmsfs")
	other.Put(t, "/srv/src/a.cipher", harness.Seal(t, l, "in the other"), 0o600)
	m.Must(t, "mount", "-N", harness.Itoa(other.PID), "-t", "kmsfs", "/srv/src", "/srv/mnt", "-o", m.Options())
	if got := harness.Read(t, other.Outside("/srv/mnt/a")); got != "in the other" {
		t.Errorf("reads %q", got)
	}
	if here := m.Mounts(""); len(here) > 0 {
		t.Errorf("mounted here: %q", here)
	}
	m.Must(t, "umount", "-N", harness.Itoa(other.PID), "/srv/mnt")
	other.Idle(t)
}

// A dead mount is replaced also when mount(8) asks.
func TestMountCommandReplacesADeadMount(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.NewGuest(t, l, "mount.kmsfs")
	for range 2 {
		m.Must(t, "mount", "-t", "kmsfs", "/srv/src", "/srv/mnt", "-o", m.Options())
		if got := harness.Read(t, m.Outside("/srv/mnt/a")); got != "on the guest" {
			t.Errorf("reads %q", got)
		}
		if lines := m.Mounts("/srv/mnt"); len(lines) != 1 {
			t.Errorf("mounted: %q", lines)
		}
		for _, pid := range m.Processes() {
			syscall.Kill(pid, syscall.SIGSTOP) // none repairs the other
		}
		for _, pid := range m.Processes() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		harness.Eventually(t, "the mount is dead", func() bool {
			_, err := os.ReadDir(m.Outside("/srv/mnt"))
			return errors.Is(err, syscall.ENOTCONN)
		})
	}
	m.Must(t, "umount", "/srv/mnt")
	m.Idle(t)
}

// A mount that is called off while it begins ends with everything it started,
// whichever process hears of it.
func TestMountCalledOffEndsWhatItStarted(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.NewGuest(t, l, "mount.kmsfs")
	// Reading the ca_file waits for ever: nobody speaks for its file system.
	m.Must(t, "mkdir", "/srv/hung")
	silent := m.Command("sh", "-c", "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 silent /srv/hung && echo mounted && read end; umount --lazy /srv/hung")
	end, err := silent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := silent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := silent.Start(); err != nil {
		t.Fatal(err)
	}
	if n, err := out.Read(make([]byte, 8)); n != 8 {
		t.Fatalf("no file system that hangs: %v", err)
	}
	others := len(m.Processes())
	options := strings.Replace(m.Options(), "/srv/ca.pem", "/srv/hung/ca.pem", 1)
	for _, whom := range []string{"mount(8)'s helper", "all but it"} {
		cmd := m.Command("mount", "-t", "kmsfs", "/srv/src", "/srv/mnt", "-o", options)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var first int
		var helpers []int
		harness.Eventually(t, "the server in the background has begun", func() bool {
			first, helpers = 0, nil
			serves := false
			for _, pid := range m.Processes() {
				if name, _, _ := strings.Cut(m.CommandLine(pid), " "); !strings.HasPrefix(filepath.Base(name), "mount.kmsfs") {
					continue
				}
				parent, environ := origin(pid)
				if parent == cmd.Process.Pid {
					first = pid
				}
				serves = serves || strings.Contains(environ, "KMSFS_LIFELINE=")
				helpers = append(helpers, pid)
			}
			return serves // so whoever has started another is done with that
		})
		if whom == "mount(8)'s helper" {
			helpers = []int{first}
		} else {
			helpers = slices.DeleteFunc(helpers, func(pid int) bool { return pid == first })
		}
		for _, pid := range helpers {
			syscall.Kill(pid, syscall.SIGTERM)
		}
		err := cmd.Wait()
		if err == nil {
			t.Errorf("%s: mount(8) says that it is mounted", whom)
		}
		if whom == "all but it" && (cmd.ProcessState.ExitCode() != 32 || !strings.Contains(stderr.String(), "before it was ready")) {
			t.Errorf("%s: %v\n%s", whom, err, stderr.String())
		}
		harness.Eventually(t, "nothing is left", func() bool { return len(m.Processes()) == others })
		if lines := m.Mounts("/srv/mnt"); len(lines) > 0 {
			t.Errorf("%s: mounted: %q", whom, lines)
		}
	}
	end.Close()
	if err := silent.Wait(); err != nil {
		t.Error(err)
	}
	m.Idle(t)
}

// origin is who has started a process, and the environment it began with.
func origin(pid int) (parent int, environ string) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	fmt.Sscanf(rest, "%c %d", new(rune), &parent)
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return parent, string(b)
}

// kmsfs umount ends a mount in every place that has it: here, through a bind
// mount, and in a mount namespace that was made meanwhile. Its neighbour lives
// on.
func TestUmountEndsAMountEverywhere(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.NewGuest(t, l)
	m.Must(t, "mkdir", "/srv/other", "/srv/bind")
	m.Must(t, "kmsfs", "mount", "-o", m.Options(), "/srv/src", "/srv/mnt")
	serving := m.Processes()
	m.Must(t, "kmsfs", "mount", "-o", m.Options(), "/srv/src", "/srv/other")
	m.Must(t, "mount", "--bind", "/srv/mnt", "/srv/bind")
	container := m.Command("unshare", "--mount", "sh", "-c", `exec > /srv/said 2>&1
exec 9< /srv/mnt/a; cat /srv/mnt/a; echo; read go
cat /srv/mnt/a; cat <&9; cat /srv/bind/a; cat /srv/other/a; echo; read go`)
	stdin, err := container.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := func() string { b, _ := os.ReadFile(m.Outside("/srv/said")); return string(b) }
	if err := container.Start(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the container reads", func() bool { return said() == "on the guest\n" })

	open, err := os.Open(m.Outside("/srv/mnt/a"))
	if err != nil {
		t.Fatal(err)
	}
	if o := m.Run(t, "kmsfs", "umount", "/srv/mnt"); o.Code != 1 || !strings.Contains(o.Stderr, "busy") || !strings.Contains(o.Stderr, "--lazy") {
		t.Errorf("while a file is open: exit code %d\n%s", o.Code, o.Stderr)
	}
	if b := make([]byte, 64); true {
		if n, err := open.Read(b); err != nil || string(b[:n]) != "on the guest" {
			t.Errorf("a file that kept the mount busy: %q, %v", b[:n], err)
		}
	}
	open.Close()
	if o := m.Run(t, "kmsfs", "umount", "/srv/mnt"); o.Code != 0 || o.Stderr != "" {
		t.Errorf("umount: exit code %d\n%s", o.Code, o.Stderr)
	}
	for _, pid := range serving {
		harness.Eventually(t, "its process is gone", func() bool { return m.CommandLine(pid) == "" })
	}
	fmt.Fprintln(stdin, "go")
	harness.Eventually(t, "the container has looked", func() bool { return strings.HasSuffix(said(), "on the guest\n") && len(said()) > 20 })
	if dead := strings.Count(said(), "not connected") + strings.Count(said(), "abort"); dead != 3 || strings.Count(said(), "on the guest") != 2 {
		t.Errorf("the container saw:\n%s", said())
	}
	stdin.Close()
	container.Wait()
	m.Must(t, "umount", "/srv/bind")

	// Lazily, it ends with its last open file.
	if open, err = os.Open(m.Outside("/srv/other/a")); err != nil {
		t.Fatal(err)
	}
	m.Must(t, "kmsfs", "umount", "--lazy", "/srv/other")
	if b := make([]byte, 64); true {
		if n, err := open.Read(b); err != nil || string(b[:n]) != "on the guest" {
			t.Errorf("detached, with an open file: %q, %v", b[:n], err)
		}
	}
	open.Close()
	m.Idle(t)
}

// shared, and private otherwise, is the mount's propagation.
func TestSharedIsThePropagationOfTheMount(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.NewGuest(t, l)
	for _, parent := range []string{"--make-shared", "--make-private"} {
		m.Must(t, "mount", parent, "/srv")
		for _, shared := range []bool{false, true} {
			options := m.Options()
			if shared {
				options = m.Options("shared")
			}
			m.Must(t, "kmsfs", "mount", "-o", options, "/srv/src", "/srv/mnt")
			if lines := m.Mounts("/srv/mnt"); len(lines) != 1 || strings.Contains(lines[0], "shared:") != shared {
				t.Errorf("%s, shared %t: %q", parent, shared, lines)
			}
			m.Must(t, "kmsfs", "umount", "/srv/mnt")
			m.Idle(t)
		}
	}
}

// systemd makes sound units of lines in /etc/fstab.
func TestFstabMakesSoundUnits(t *testing.T) {
	const generator = "/lib/systemd/system-generators/systemd-fstab-generator"
	dir := t.TempDir()
	harness.Put(t, dir+"/fstab", `/etc/nginx/certs /run/certs kmsfs _netdev,nofail,region=cn-hangzhou 0 0
/etc/app /run/app fuse.kmsfs _netdev,x-systemd.automount,x-systemd.idle-timeout=60,x-systemd.mount-timeout=20,uid=www-data 0 0
`)
	for _, d := range []string{"n", "e", "l"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(generator, dir+"/n", dir+"/e", dir+"/l")
	cmd.Env = []string{"SYSTEMD_FSTAB=" + dir + "/fstab", "PATH=/usr/bin:/bin"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string][]string{
		"run-certs.mount":   {"What=/etc/nginx/certs", "Where=/run/certs", "Type=kmsfs", "Options=_netdev,nofail,region=cn-hangzhou"},
		"run-app.mount":     {"Type=fuse.kmsfs", "TimeoutSec=20s"},
		"run-app.automount": {"Where=/run/app", "TimeoutIdleSec=1min"},
	} {
		text := harness.Read(t, filepath.Join(dir, "n", name))
		for _, line := range want {
			if !strings.Contains(text, "\n"+line) {
				t.Errorf("%s has no %s:\n%s", name, line, text)
			}
		}
		cmd := exec.Command(harness.Program(t, "systemd-analyze"), "verify", "--man=no", filepath.Join(dir, "n", name))
		cmd.Env = []string{"PATH=/usr/bin:/bin", "SYSTEMD_UNIT_PATH=" + dir + "/n:/lib/systemd/system"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	for _, link := range []string{"remote-fs.target.wants/run-certs.mount", "remote-fs.target.requires/run-app.automount"} {
		if _, err := os.Lstat(filepath.Join(dir, "n", link)); err != nil {
			t.Error(err)
		}
	}
}

// The README's lines work as they stand, but for the paths.
func TestReadmeMountLinesWork(t *testing.T) {
	m := newUser(t, "mount.kmsfs")
	here := strings.NewReplacer("/etc/nginx/certs", "/srv/src", "/run/certs", "/srv/mnt", "region=cn-hangzhou", m.Options())
	mountLine, rest, _ := strings.Cut(here.Replace(harness.ReadmeBlock(t, "mount")), "\n")
	m.Must(t, strings.Fields(mountLine)...)
	if got := harness.Read(t, m.Outside("/srv/mnt/a")); got != "on the guest" {
		t.Errorf("reads %q", got)
	}
	m.Must(t, strings.Fields(rest)...)
	m.Idle(t)

	m.Put(t, "/etc/fstab", here.Replace(harness.ReadmeBlock(t, "fuse3 fstab")), 0o644)
	m.Must(t, "mount", "-a")
	if got := harness.Read(t, m.Outside("/srv/mnt/a")); got != "on the guest" {
		t.Errorf("through mount.fuse3: reads %q", got)
	}
	m.Must(t, "kmsfs", "umount", "/srv/mnt")
	m.Idle(t)

	m.Must(t, "mv", "/srv/alice/src", "/srv/alice/certs")
	script := strings.Replace(here.Replace(harness.ReadmeBlock(t, "user")), "kmsfs umount", "cat ~/secrets/a\nkmsfs umount", 1)
	if o := m.RunAs(t, harness.UserNumber, "env", "HOME=/srv/alice", "sh", "-ec", script); o.Code != 0 || o.Stdout != "hers" {
		t.Errorf("as a user: exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	m.Idle(t)
}
