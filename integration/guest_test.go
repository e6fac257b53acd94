package integration_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// guest is a mount namespace in which kmsfs is installed as an admin would,
// with a user besides root: nothing of it is left on the real machine. Its
// files are below /srv.
type guest struct {
	lab *lab.Lab
	pid int // of a process in it
}

// The user besides root has a number that nobody has.
const (
	userName   = "kmsfs-alice"
	userNumber = 64321
)

const guestScript = `set -e
# Copies of other mounts would keep their processes.
awk '/ - fuse\.kmsfs / { print $5 }' /proc/self/mountinfo | while read -r point; do umount --no-canonicalize --internal-only --lazy "$(printf '%b' "$point")"; done
mount -t tmpfs -o mode=755 none /srv
mkdir -m 755 /srv/sbin /srv/work /srv/bin /srv/etc /srv/src /srv/mnt
mount -t overlay -o lowerdir=/usr/sbin,upperdir=/srv/sbin,workdir=/srv/work none /usr/sbin
mount --bind /srv/bin /usr/local/bin
for f in passwd group fuse.conf fstab; do
	cat /etc/$f > /srv/etc/$f 2>/dev/null || :
	[ -e /etc/$f ] || { echo "/etc/$f is missing" >&2; exit 1; }
	mount --bind /srv/etc/$f /etc/$f
done
echo "$1:x:$2:$2::/nowhere:/bin/sh" >> /etc/passwd
echo "$1:x:$2:" >> /etc/group
: > /etc/fuse.conf
: > /etc/fstab
mknod -m 666 /srv/fuse c 10 229
mount --bind /srv/fuse /dev/fuse
echo ready
read end || :
`

// newGuest sets one up, with the programs that mount(8) calls installed
// under the names given.
func newGuest(t *testing.T, l *lab.Lab, helpers ...string) *guest {
	t.Helper()
	needMount(t)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", guestScript, "sh", userName, itoa(userNumber))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := &guest{lab: l, pid: cmd.Process.Pid}
	t.Cleanup(func() {
		for _, p := range m.processes() {
			t.Errorf("left behind on the guest: process %d %s", p, m.commandLine(p))
			syscall.Kill(p, syscall.SIGKILL)
		}
		for _, line := range m.mounts("") {
			t.Errorf("left behind on the guest: mount %s", line)
		}
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	if line := make([]byte, 6); true {
		if _, err := io.ReadFull(out, line); err != nil || string(line) != "ready\n" {
			t.Fatalf("the guest said %q (%v)", line, err)
		}
	}
	m.install(t, "/usr/local/bin/kmsfs")
	for _, name := range helpers {
		m.install(t, "/usr/sbin/"+name)
	}
	m.put(t, "/srv/ca.pem", read(t, l.CAFile), 0o644)
	m.put(t, "/srv/src/a.cipher", seal(t, l, "on the guest"), 0o644)
	return m
}

func (m *guest) install(t *testing.T, path string) {
	t.Helper()
	m.put(t, path, read(t, filepath.Join(binDir, "kmsfs")), 0o755)
}

// outside is how a path of the guest is called outside of it.
func (m *guest) outside(path string) string { return fmt.Sprintf("/proc/%d/root%s", m.pid, path) }

func (m *guest) put(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(m.outside(path), []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(m.outside(path), mode); err != nil {
		t.Fatal(err)
	}
}

// command runs on the guest as root, in /srv.
func (m *guest) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--target", itoa(m.pid), "--mount", "--wd=" + m.outside("/srv"), "--"}, args...)...)
	cmd.Env = withEnv(m.lab.Env(), map[string]string{"KMSFS_ENDPOINT": "", "KMSFS_CA_FILE": "", "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR": ""})
	return cmd
}

func (m *guest) run(t *testing.T, args ...string) outcome {
	t.Helper()
	return runCommand(t, m.command(args...))
}

// runAs runs as a user, without any privilege.
func (m *guest) runAs(t *testing.T, user int, args ...string) outcome {
	t.Helper()
	return m.run(t, append([]string{"setpriv", "--reuid=" + itoa(user), "--regid=" + itoa(user), "--clear-groups", "--inh-caps=-all", "--"}, args...)...)
}

// must runs what has to succeed, and returns what it printed.
func (m *guest) must(t *testing.T, args ...string) string {
	t.Helper()
	o := m.run(t, args...)
	if o.code != 0 {
		t.Fatalf("%q: exit code %d\n%s%s", args, o.code, o.stdout, o.stderr)
	}
	return o.stdout
}

// options are the -o that every mount on the guest needs, and more.
func (m *guest) options(more ...string) string {
	return strings.Join(append(more, "allow_emulator,region="+lab.Region+",endpoint="+m.lab.Endpoint+",ca_file=/srv/ca.pem"), ",")
}

// mounts are the lines of the mount table with kmsfs, at a mountpoint or all.
func (m *guest) mounts(point string) (lines []string) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", m.pid))
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, " - fuse.kmsfs ") && (point == "" || strings.Fields(line)[4] == point) {
			lines = append(lines, line)
		}
	}
	return lines
}

// processes are those that live on the guest, except the first.
func (m *guest) processes() (found []int) {
	namespace, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", m.pid))
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		if ns, err := os.Readlink(d + "/ns/mnt"); err != nil || ns != namespace || pid == m.pid || m.commandLine(pid) == "" {
			continue // zombies have no command line
		}
		found = append(found, pid)
	}
	return found
}

func (m *guest) commandLine(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.ReplaceAll(string(b), "\x00", " ")
}

// idle waits until nothing of kmsfs is left on the guest.
func (m *guest) idle(t *testing.T) {
	t.Helper()
	eventually(t, "nothing is left", func() bool { return len(m.processes()) == 0 })
	if left := m.mounts(""); len(left) > 0 {
		t.Errorf("still mounted: %q", left)
	}
}
