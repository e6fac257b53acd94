package integration_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// newUser is a guest on which a user has a source and a mountpoint.
func newUser(t *testing.T, helpers ...string) *guest {
	t.Helper()
	l := newLab(t)
	m := newGuest(t, l, helpers...)
	m.must(t, "mkdir", "-p", "/srv/alice/src", "/srv/alice/mnt", "/srv/alice/tools")
	m.put(t, "/srv/alice/src/a.cipher", seal(t, l, "hers"), 0o600)
	m.must(t, "chown", "-R", userName+":"+userName, "/srv/alice")
	return m
}

// mountAs mounts her source as she does.
func (m *guest) mountAs(t *testing.T, options ...string) outcome {
	t.Helper()
	return m.runAs(t, userNumber, "kmsfs", "mount", "-o", m.options(options...), "/srv/alice/src", "/srv/alice/mnt")
}

// replace puts a program in another's place; undo takes it back.
func (m *guest) replace(t *testing.T, path, script string) (undo func()) {
	t.Helper()
	m.put(t, "/srv/replacement", script, 0o755)
	m.must(t, "mount", "--bind", "/srv/replacement", path)
	return func() { m.must(t, "umount", path) }
}

// expectFailure checks an exit code, one line that says what, and one that
// says what to do.
func expectFailure(t *testing.T, what string, o outcome, code int, says, hint string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(o.stderr) {
		if !strings.HasPrefix(line, "kmsfs: warning: ") {
			lines = append(lines, line)
		}
	}
	if o.code != code || len(lines) != 2 || !strings.HasPrefix(lines[0], "kmsfs: ") || !strings.Contains(lines[0], says) ||
		!strings.HasPrefix(lines[1], "hint: ") || !strings.Contains(lines[1], hint) || strings.Contains(o.stderr, `\x`) {
		t.Errorf("%s: exit code %d, want %d, one line with %q and one with %q:\n%s", what, o.code, code, says, hint, o.stderr)
	}
}

// Another user than root mounts, reads what is hers alone, and unmounts.
func TestUserMount(t *testing.T) {
	m := newUser(t)
	for _, control := range []bool{false, true} {
		if control {
			m.must(t, "mount", "-t", "fusectl", "none", "/sys/fs/fuse/connections")
		}
		if o := m.mountAs(t); o.code != 0 {
			t.Fatalf("exit code %d\n%s", o.code, o.stderr)
		}
		if o := m.runAs(t, userNumber, "cat", "/srv/alice/mnt/a"); o.stdout != "hers" {
			t.Errorf("she reads %q\n%s", o.stdout, o.stderr)
		}
		if o := m.runAs(t, userNumber, "stat", "-c", "%u %g %a %s", "/srv/alice/mnt/a"); o.stdout != itoa(userNumber)+" "+itoa(userNumber)+" 400 4\n" {
			t.Errorf("it looks like %q\n%s", o.stdout, o.stderr)
		}
		if _, err := os.ReadFile(m.outside("/srv/alice/mnt/a")); !errors.Is(err, syscall.EACCES) {
			t.Errorf("root reads it: %v", err)
		}
		if o := m.mountAs(t); o.code != 1 || !strings.Contains(o.stderr, "mounted there already") {
			t.Errorf("once more: exit code %d\n%s", o.code, o.stderr)
		}
		o := m.runAs(t, userNumber, "kmsfs", "umount", "/srv/alice/mnt")
		if o.code != 0 || control == strings.Contains(o.stderr, "warning: it may go on") {
			t.Errorf("umount: exit code %d\n%s", o.code, o.stderr)
		}
		m.idle(t)
	}
	if o := m.mountAs(t); o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	if o := m.runAs(t, userNumber, "fusermount3", "-u", "/srv/alice/mnt"); o.code != 0 {
		t.Errorf("fusermount3: exit code %d\n%s", o.code, o.stderr)
	}
	m.idle(t)
	m.must(t, "umount", "/sys/fs/fuse/connections")
}

// kmsfs umount of a user's mount ends it where somebody else holds it, too.
func TestUserUmountEverywhere(t *testing.T) {
	m := newUser(t)
	m.must(t, "mount", "-t", "fusectl", "none", "/sys/fs/fuse/connections")
	if o := m.mountAs(t); o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	m.must(t, "mkdir", "/srv/bind")
	m.must(t, "mount", "--bind", "/srv/alice/mnt", "/srv/bind")
	if o := m.runAs(t, userNumber, "kmsfs", "umount", "/srv/alice/mnt"); o.code != 0 || o.stderr != "" {
		t.Errorf("umount: exit code %d\n%s", o.code, o.stderr)
	}
	eventually(t, "its process is gone", func() bool { return len(m.processes()) == 0 })
	if o := m.runAs(t, userNumber, "cat", "/srv/bind/a"); o.code == 0 {
		t.Errorf("it is still served: %q", o.stdout)
	}
	m.must(t, "umount", "/srv/bind")
	m.must(t, "umount", "/sys/fs/fuse/connections")
}

// A dead mount of hers is replaced.
func TestUserReplacesDead(t *testing.T) {
	m := newUser(t)
	for range 2 {
		if o := m.mountAs(t); o.code != 0 {
			t.Fatalf("exit code %d\n%s", o.code, o.stderr)
		}
		if o := m.runAs(t, userNumber, "cat", "/srv/alice/mnt/a"); o.stdout != "hers" {
			t.Errorf("she reads %q\n%s", o.stdout, o.stderr)
		}
		if lines := m.mounts("/srv/alice/mnt"); len(lines) != 1 {
			t.Errorf("mounted: %q", lines)
		}
		serving := m.processes()
		for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} { // none repairs the other
			for _, pid := range serving {
				syscall.Kill(pid, sig)
			}
		}
		eventually(t, "the mount is dead", func() bool {
			return strings.Contains(m.runAs(t, userNumber, "ls", "/srv/alice/mnt").stderr, "not connected")
		})
	}
	m.must(t, "umount", "/srv/alice/mnt")
	m.idle(t)
}

// Who else may read is said by allow_other, and by the modes; /etc/fuse.conf
// says whether she may say it.
func TestUserAllowOther(t *testing.T) {
	m := newUser(t)
	expectFailure(t, "without user_allow_other", m.mountAs(t, "allow_other"), 1,
		"fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf", "write the line user_allow_other into /etc/fuse.conf")
	m.put(t, "/etc/fuse.conf", "user_allow_other\n", 0o644)
	for _, c := range []struct {
		options string
		others  bool
	}{{"allow_other", false}, {"allow_other,file_mode=0444,dir_mode=0555", true}} {
		if o := m.mountAs(t, c.options); o.code != 0 {
			t.Fatalf("%s: exit code %d\n%s", c.options, o.code, o.stderr)
		}
		if got := read(t, m.outside("/srv/alice/mnt/a")); got != "hers" {
			t.Errorf("%s: root reads %q", c.options, got)
		}
		if o := m.runAs(t, userNumber+1, "cat", "/srv/alice/mnt/a"); (o.stdout == "hers") != c.others || !c.others && !strings.Contains(o.stderr, "Permission denied") {
			t.Errorf("%s: somebody reads %q %s", c.options, o.stdout, o.stderr)
		}
		if o := m.runAs(t, userNumber, "kmsfs", "umount", "/srv/alice/mnt"); o.code != 0 {
			t.Errorf("umount: exit code %d\n%s", o.code, o.stderr)
		}
		m.idle(t)
	}
}

// Where she cannot mount she is told why, in one line, and what to change.
func TestUserCannotMount(t *testing.T) {
	m := newUser(t)
	command := []string{"kmsfs", "mount", "-o", m.options(), "/srv/alice/src"}
	expectFailure(t, "a mountpoint of root", m.runAs(t, userNumber, append(command, "/srv/mnt")...), 1,
		"user has no write access to mountpoint", "choose a mountpoint that you own")
	expectFailure(t, "no_new_privs", m.runAs(t, userNumber, append([]string{"setpriv", "--no-new-privs"}, append(command, "/srv/alice/mnt")...)...), 1,
		"fusermount3: mount failed: Operation not permitted", "no_new_privs keeps fusermount3")
	expectFailure(t, "shared", m.mountAs(t, "shared"), 1, "shared: operation not permitted", "only root")

	m.must(t, "chmod", "600", "/dev/fuse")
	expectFailure(t, "/dev/fuse 0600", m.mountAs(t), 1, "open /dev/fuse: permission denied", "chmod 0666 /dev/fuse")
	m.must(t, "chmod", "666", "/dev/fuse")

	undo := m.replace(t, "/usr/bin/fusermount3", "")
	m.must(t, "chmod", "644", "/usr/bin/fusermount3")
	expectFailure(t, "no fusermount3", m.mountAs(t), 1, "fusermount3", "package fuse3")
	undo()
	m.idle(t)
}

// fusermount3 gets nothing of our environment, neither to mount nor to
// unmount: credentials may be in it.
func TestUserEnvironment(t *testing.T) {
	m := newUser(t)
	const spy = "#!/bin/sh\nenv > /srv/alice/env\nexit 1\n"
	undo := m.replace(t, "/usr/bin/fusermount3", spy)
	check := func(what string, allowed ...string) {
		t.Helper()
		for line := range strings.Lines(read(t, m.outside("/srv/alice/env"))) {
			if name, _, _ := strings.Cut(line, "="); !slices.Contains(append(allowed, "PWD", "OLDPWD", "SHLVL", "_"), name) { // the shell's own
				t.Errorf("%s: fusermount3 got %q", what, line)
			}
		}
		m.must(t, "rm", "/srv/alice/env")
	}
	if o := m.mountAs(t); o.code != 1 {
		t.Errorf("mount: exit code %d\n%s", o.code, o.stderr)
	}
	check("mount", "_FUSE_COMMFD")
	undo()
	if o := m.mountAs(t); o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	undo = m.replace(t, "/usr/bin/fusermount3", spy)
	if o := m.runAs(t, userNumber, "kmsfs", "umount", "/srv/alice/mnt"); o.code != 1 {
		t.Errorf("umount: exit code %d\n%s", o.code, o.stderr)
	}
	check("umount")
	undo()
	m.must(t, "umount", "/srv/alice/mnt")
	m.idle(t)
}

// In a user namespace of her own she is root, and needs no fusermount3; the
// mount is seen only there.
func TestUserNamespace(t *testing.T) {
	m := newUser(t)
	undo := m.replace(t, "/usr/bin/fusermount3", "#!/bin/sh\nexit 1\n")
	o := m.runAs(t, userNumber, "unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", `
kmsfs mount -o "$1" /srv/alice/src /srv/alice/mnt
cat /srv/alice/mnt/a
echo
stat -c '%u %a' /srv/alice/mnt/a
grep -c 'fuse.kmsfs.*default_permissions' /proc/self/mountinfo
exec 3< /srv/alice/mnt/a
kmsfs umount /srv/alice/mnt || echo busy
exec 3<&-
kmsfs umount /srv/alice/mnt
grep -c fuse.kmsfs /proc/self/mountinfo || :`, "sh", m.options())
	if o.code != 0 || o.stdout != "hers\n0 400\n1\nbusy\n0\n" {
		t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	undo()
	m.idle(t)
}

// A line with user in /etc/fstab lets her mount and unmount through mount(8).
func TestUserFstab(t *testing.T) {
	m := newUser(t, "mount.kmsfs")
	m.put(t, "/etc/fstab", "/srv/alice/src /srv/alice/mnt kmsfs noauto,user,"+m.options()+" 0 0\n", 0o644)
	if o := m.runAs(t, userNumber, "mount", "/srv/alice/mnt"); o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	if o := m.runAs(t, userNumber, "cat", "/srv/alice/mnt/a"); o.stdout != "hers" {
		t.Errorf("she reads %q\n%s", o.stdout, o.stderr)
	}
	if o := m.runAs(t, userNumber, "umount", "/srv/alice/mnt"); o.code != 0 {
		t.Errorf("umount: exit code %d\n%s", o.code, o.stderr)
	}
	m.idle(t)
}

// Root gives the files to whom it names.
func TestOwnersByName(t *testing.T) {
	m := newUser(t, "mount.kmsfs")
	for _, c := range []struct {
		options, looks string
		read           bool
	}{
		{"allow_other,uid=" + userName + ",gid=" + userName, itoa(userNumber) + " " + itoa(userNumber) + " 400", true},
		{"allow_other,uid=" + itoa(userNumber), itoa(userNumber) + " 0 400", true},
		{"allow_other,gid=" + userName + ",file_mode=0440,dir_mode=0550", "0 " + itoa(userNumber) + " 440", true},
		{"allow_other", "0 0 400", false},
		{"uid=" + userName, itoa(userNumber) + " 0 400", false},
	} {
		m.must(t, "mount", "-t", "kmsfs", "/srv/src", "/srv/mnt", "-o", m.options(c.options))
		if got := m.must(t, "stat", "-c", "%u %g %a", "/srv/mnt/a"); got != c.looks+"\n" {
			t.Errorf("%s: looks like %q, want %q", c.options, got, c.looks)
		}
		if o := m.runAs(t, userNumber, "cat", "/srv/mnt/a"); (o.stdout == "on the guest") != c.read {
			t.Errorf("%s: she reads %q %s", c.options, o.stdout, o.stderr)
		}
		if o := m.runAs(t, userNumber+1, "cat", "/srv/mnt/a"); o.code == 0 {
			t.Errorf("%s: somebody reads %q", c.options, o.stdout)
		}
		m.must(t, "kmsfs", "umount", "/srv/mnt")
		m.idle(t)
	}
}
