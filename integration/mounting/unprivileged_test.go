package mounting_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// newUser is a guest on which a user has a source and a mountpoint.
func newUser(t *testing.T, helpers ...string) *harness.Guest {
	t.Helper()
	l := harness.NewLab(t)
	m := harness.NewGuest(t, l, helpers...)
	m.Must(t, "mkdir", "-p", "/srv/alice/src", "/srv/alice/mnt", "/srv/alice/tools")
	m.Put(t, "/srv/alice/src/a.cipher", harness.Seal(t, l, "hers"), 0o600)
	m.Must(t, "chown", "-R", harness.UserName+":"+harness.UserName, "/srv/alice")
	return m
}

// mountAs mounts her source as she does.
func mountAs(t *testing.T, m *harness.Guest, options ...string) harness.Outcome {
	t.Helper()
	return m.RunAs(t, harness.UserNumber, "kmsfs", "mount", "-o", m.Options(options...), "/srv/alice/src", "/srv/alice/mnt")
}

// replace puts a program in another's place; undo takes it back.
func replace(t *testing.T, m *harness.Guest, path, script string) (undo func()) {
	t.Helper()
	m.Put(t, "/srv/replacement", script, 0o755)
	m.Must(t, "mount", "--bind", "/srv/replacement", path)
	return func() { m.Must(t, "umount", path) }
}

// expectFailure checks an exit code, one line that says what, and one that
// says what to do.
func expectFailure(t *testing.T, what string, o harness.Outcome, code int, says, hint string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(o.Stderr) {
		if !strings.HasPrefix(line, "kmsfs: warning: ") {
			lines = append(lines, line)
		}
	}
	if o.Code != code || len(lines) != 2 || !strings.HasPrefix(lines[0], "kmsfs: ") || !strings.Contains(lines[0], says) ||
		!strings.HasPrefix(lines[1], "hint: ") || !strings.Contains(lines[1], hint) || strings.Contains(o.Stderr, `\x`) {
		t.Errorf("%s: exit code %d, want %d, one line with %q and one with %q:\n%s", what, o.Code, code, says, hint, o.Stderr)
	}
}

// Another user than root mounts, reads what is hers alone, and unmounts.
func TestUserMountsReadsAndUnmounts(t *testing.T) {
	m := newUser(t)
	for _, control := range []bool{false, true} {
		if control {
			m.Must(t, "mount", "-t", "fusectl", "none", "/sys/fs/fuse/connections")
		}
		if o := mountAs(t, m); o.Code != 0 {
			t.Fatalf("exit code %d\n%s", o.Code, o.Stderr)
		}
		if o := m.RunAs(t, harness.UserNumber, "cat", "/srv/alice/mnt/a"); o.Stdout != "hers" {
			t.Errorf("she reads %q\n%s", o.Stdout, o.Stderr)
		}
		if o := m.RunAs(t, harness.UserNumber, "stat", "-c", "%u %g %a %s", "/srv/alice/mnt/a"); o.Stdout != harness.Itoa(harness.UserNumber)+" "+harness.Itoa(harness.UserNumber)+" 400 4\n" {
			t.Errorf("it looks like %q\n%s", o.Stdout, o.Stderr)
		}
		if _, err := os.ReadFile(m.Outside("/srv/alice/mnt/a")); !errors.Is(err, syscall.EACCES) {
			t.Errorf("root reads it: %v", err)
		}
		if o := mountAs(t, m); o.Code != 1 || !strings.Contains(o.Stderr, "mounted there already") {
			t.Errorf("once more: exit code %d\n%s", o.Code, o.Stderr)
		}
		o := m.RunAs(t, harness.UserNumber, "kmsfs", "umount", "/srv/alice/mnt")
		if o.Code != 0 || control == strings.Contains(o.Stderr, "warning: it may go on") {
			t.Errorf("umount: exit code %d\n%s", o.Code, o.Stderr)
		}
		m.Idle(t)
	}
	if o := mountAs(t, m); o.Code != 0 {
		t.Fatalf("exit code %d\n%s", o.Code, o.Stderr)
	}
	if o := m.RunAs(t, harness.UserNumber, "fusermount3", "-u", "/srv/alice/mnt"); o.Code != 0 {
		t.Errorf("fusermount3: exit code %d\n%s", o.Code, o.Stderr)
	}
	m.Idle(t)
	m.Must(t, "umount", "/sys/fs/fuse/connections")
}

// kmsfs umount of a user's mount ends it where somebody else holds it, too.
func TestUserUmountEndsAMountEverywhere(t *testing.T) {
	m := newUser(t)
	m.Must(t, "mount", "-t", "fusectl", "none", "/sys/fs/fuse/connections")
	if o := mountAs(t, m); o.Code != 0 {
		t.Fatalf("exit code %d\n%s", o.Code, o.Stderr)
	}
	m.Must(t, "mkdir", "/srv/bind")
	m.Must(t, "mount", "--bind", "/srv/alice/mnt", "/srv/bind")
	if o := m.RunAs(t, harness.UserNumber, "kmsfs", "umount", "/srv/alice/mnt"); o.Code != 0 || o.Stderr != "" {
		t.Errorf("umount: exit code %d\n%s", o.Code, o.Stderr)
	}
	harness.Eventually(t, "its process is gone", func() bool { return len(m.Processes()) == 0 })
	if o := m.RunAs(t, harness.UserNumber, "cat", "/srv/bind/a"); o.Code == 0 {
		t.Errorf("it is still served: %q", o.Stdout)
	}
	m.Must(t, "umount", "/srv/bind")
	m.Must(t, "umount", "/sys/fs/fuse/connections")
}

// A dead mount of hers is replaced.
func TestUserReplacesADeadMount(t *testing.T) {
	m := newUser(t)
	for range 2 {
		if o := mountAs(t, m); o.Code != 0 {
			t.Fatalf("exit code %d\n%s", o.Code, o.Stderr)
		}
		if o := m.RunAs(t, harness.UserNumber, "cat", "/srv/alice/mnt/a"); o.Stdout != "hers" {
			t.Errorf("she reads %q\n%s", o.Stdout, o.Stderr)
		}
		if lines := m.Mounts("/srv/alice/mnt"); len(lines) != 1 {
			t.Errorf("mounted: %q", lines)
		}
		serving := m.Processes()
		for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} { // none repairs the other
			for _, pid := range serving {
				syscall.Kill(pid, sig)
			}
		}
		harness.Eventually(t, "the mount is dead", func() bool {
			return strings.Contains(m.RunAs(t, harness.UserNumber, "ls", "/srv/alice/mnt").Stderr, "not connected")
		})
	}
	m.Must(t, "umount", "/srv/alice/mnt")
	m.Idle(t)
}

// Who else may read is said by allow_other, and by the modes; /etc/fuse.conf
// says whether she may say it.
func TestUserAllowsOthersWhereFuseConfSaysSo(t *testing.T) {
	m := newUser(t)
	expectFailure(t, "without user_allow_other", mountAs(t, m, "allow_other"), 1,
		"fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf", "write the line user_allow_other into /etc/fuse.conf")
	m.Put(t, "/etc/fuse.conf", "user_allow_other\n", 0o644)
	for _, c := range []struct {
		options string
		others  bool
	}{{"allow_other", false}, {"allow_other,file_mode=0444,dir_mode=0555", true}} {
		if o := mountAs(t, m, c.options); o.Code != 0 {
			t.Fatalf("%s: exit code %d\n%s", c.options, o.Code, o.Stderr)
		}
		if got := harness.Read(t, m.Outside("/srv/alice/mnt/a")); got != "hers" {
			t.Errorf("%s: root reads %q", c.options, got)
		}
		if o := m.RunAs(t, harness.UserNumber+1, "cat", "/srv/alice/mnt/a"); (o.Stdout == "hers") != c.others || !c.others && !strings.Contains(o.Stderr, "Permission denied") {
			t.Errorf("%s: somebody reads %q %s", c.options, o.Stdout, o.Stderr)
		}
		if o := m.RunAs(t, harness.UserNumber, "kmsfs", "umount", "/srv/alice/mnt"); o.Code != 0 {
			t.Errorf("umount: exit code %d\n%s", o.Code, o.Stderr)
		}
		m.Idle(t)
	}
}

// Where she cannot mount she is told why, in one line, and what to change.
func TestUserIsToldWhySheCannotMount(t *testing.T) {
	m := newUser(t)
	command := []string{"kmsfs", "mount", "-o", m.Options(), "/srv/alice/src"}
	expectFailure(t, "a mountpoint of root", m.RunAs(t, harness.UserNumber, append(command, "/srv/mnt")...), 1,
		"user has no write access to mountpoint", "choose a mountpoint that you own")
	expectFailure(t, "no_new_privs", m.RunAs(t, harness.UserNumber, append([]string{"setpriv", "--no-new-privs"}, append(command, "/srv/alice/mnt")...)...), 1,
		"fusermount3: mount failed: Operation not permitted", "no_new_privs keeps fusermount3")
	expectFailure(t, "shared", mountAs(t, m, "shared"), 1, "shared: operation not permitted", "only root")

	m.Must(t, "chmod", "600", "/dev/fuse")
	expectFailure(t, "/dev/fuse 0600", mountAs(t, m), 1, "open /dev/fuse: permission denied", "chmod 0666 /dev/fuse")
	m.Must(t, "chmod", "666", "/dev/fuse")

	undo := replace(t, m, "/usr/bin/fusermount3", "")
	m.Must(t, "chmod", "644", "/usr/bin/fusermount3")
	expectFailure(t, "no fusermount3", mountAs(t, m), 1, "fusermount3", "package fuse3")
	undo()
	m.Idle(t)
}

// fusermount3 gets nothing of our environment, neither to mount nor to
// unmount: credentials may be in it.
func TestFusermountGetsNothingOfTheEnvironment(t *testing.T) {
	m := newUser(t)
	const spy = "#!/bin/sh\nenv > /srv/alice/env\nexit 1\n"
	undo := replace(t, m, "/usr/bin/fusermount3", spy)
	check := func(what string, allowed ...string) {
		t.Helper()
		for line := range strings.Lines(harness.Read(t, m.Outside("/srv/alice/env"))) {
			if name, _, _ := strings.Cut(line, "="); !slices.Contains(append(allowed, "PWD", "OLDPWD", "SHLVL", "_"), name) { // the shell's own
				t.Errorf("%s: fusermount3 got %q", what, line)
			}
		}
		m.Must(t, "rm", "/srv/alice/env")
	}
	if o := mountAs(t, m); o.Code != 1 {
		t.Errorf("mount: exit code %d\n%s", o.Code, o.Stderr)
	}
	check("mount", "_FUSE_COMMFD")
	undo()
	if o := mountAs(t, m); o.Code != 0 {
		t.Fatalf("exit code %d\n%s", o.Code, o.Stderr)
	}
	undo = replace(t, m, "/usr/bin/fusermount3", spy)
	if o := m.RunAs(t, harness.UserNumber, "kmsfs", "umount", "/srv/alice/mnt"); o.Code != 1 {
		t.Errorf("umount: exit code %d\n%s", o.Code, o.Stderr)
	}
	check("umount")
	undo()
	m.Must(t, "umount", "/srv/alice/mnt")
	m.Idle(t)
}

// In a user namespace of her own she is root, and needs no fusermount3; the
// mount is seen only there.
func TestUserNamespaceNeedsNoFusermount(t *testing.T) {
	m := newUser(t)
	undo := replace(t, m, "/usr/bin/fusermount3", "#!/bin/sh\nexit 1\n")
	o := m.RunAs(t, harness.UserNumber, "unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", `
kmsfs mount -o "$1" /srv/alice/src /srv/alice/mnt
cat /srv/alice/mnt/a
echo
stat -c '%u %a' /srv/alice/mnt/a
grep -c 'fuse.kmsfs.*default_permissions' /proc/self/mountinfo
exec 3< /srv/alice/mnt/a
kmsfs umount /srv/alice/mnt || echo busy
exec 3<&-
kmsfs umount /srv/alice/mnt
grep -c fuse.kmsfs /proc/self/mountinfo || :`, "sh", m.Options())
	if o.Code != 0 || o.Stdout != "hers\n0 400\n1\nbusy\n0\n" {
		t.Errorf("exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	undo()
	m.Idle(t)
}

// A line with user in /etc/fstab lets her mount and unmount through mount(8).
func TestUserMountsByALineInFstab(t *testing.T) {
	m := newUser(t, "mount.kmsfs")
	m.Put(t, "/etc/fstab", "/srv/alice/src /srv/alice/mnt kmsfs noauto,user,"+m.Options()+" 0 0\n", 0o644)
	if o := m.RunAs(t, harness.UserNumber, "mount", "/srv/alice/mnt"); o.Code != 0 {
		t.Fatalf("exit code %d\n%s", o.Code, o.Stderr)
	}
	if o := m.RunAs(t, harness.UserNumber, "cat", "/srv/alice/mnt/a"); o.Stdout != "hers" {
		t.Errorf("she reads %q\n%s", o.Stdout, o.Stderr)
	}
	if o := m.RunAs(t, harness.UserNumber, "umount", "/srv/alice/mnt"); o.Code != 0 {
		t.Errorf("umount: exit code %d\n%s", o.Code, o.Stderr)
	}
	m.Idle(t)
}

// Root gives the files to whom it names.
func TestFilesBelongToWhomRootNames(t *testing.T) {
	m := newUser(t, "mount.kmsfs")
	for _, c := range []struct {
		options, looks string
		read           bool
	}{
		{"allow_other,uid=" + harness.UserName + ",gid=" + harness.UserName, harness.Itoa(harness.UserNumber) + " " + harness.Itoa(harness.UserNumber) + " 400", true},
		{"allow_other,uid=" + harness.Itoa(harness.UserNumber), harness.Itoa(harness.UserNumber) + " 0 400", true},
		{"allow_other,gid=" + harness.UserName + ",file_mode=0440,dir_mode=0550", "0 " + harness.Itoa(harness.UserNumber) + " 440", true},
		{"allow_other", "0 0 400", false},
		{"uid=" + harness.UserName, harness.Itoa(harness.UserNumber) + " 0 400", false},
	} {
		m.Must(t, "mount", "-t", "kmsfs", "/srv/src", "/srv/mnt", "-o", m.Options(c.options))
		if got := m.Must(t, "stat", "-c", "%u %g %a", "/srv/mnt/a"); got != c.looks+"\n" {
			t.Errorf("%s: looks like %q, want %q", c.options, got, c.looks)
		}
		if o := m.RunAs(t, harness.UserNumber, "cat", "/srv/mnt/a"); (o.Stdout == "on the guest") != c.read {
			t.Errorf("%s: she reads %q %s", c.options, o.Stdout, o.Stderr)
		}
		if o := m.RunAs(t, harness.UserNumber+1, "cat", "/srv/mnt/a"); o.Code == 0 {
			t.Errorf("%s: somebody reads %q", c.options, o.Stdout)
		}
		m.Must(t, "kmsfs", "umount", "/srv/mnt")
		m.Idle(t)
	}
}
