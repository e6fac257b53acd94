package harness

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

// Guest is a mount namespace in which kmsfs is installed as an admin would,
// with a user besides root: nothing of it is left on the real machine. Its
// files are below /srv.
type Guest struct {
	lab *lab.Lab
	PID int // of a process in it
}

// The user besides root has a number that nobody has.
const (
	UserName   = "kmsfs-alice"
	UserNumber = 64321
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

// NewGuest sets one up, with the programs that mount(8) calls installed
// under the names given.
func NewGuest(t *testing.T, l *lab.Lab, helpers ...string) *Guest {
	t.Helper()
	NeedMount(t)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", guestScript, "sh", UserName, Itoa(UserNumber))
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
	m := &Guest{lab: l, PID: cmd.Process.Pid}
	t.Cleanup(func() {
		for _, p := range m.Processes() {
			t.Errorf("left behind on the guest: process %d %s", p, m.CommandLine(p))
			syscall.Kill(p, syscall.SIGKILL)
		}
		for _, line := range m.Mounts("") {
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
	m.Install(t, "/usr/local/bin/kmsfs")
	for _, name := range helpers {
		m.Install(t, "/usr/sbin/"+name)
	}
	m.Put(t, "/srv/ca.pem", Read(t, l.CAFile), 0o644)
	m.Put(t, "/srv/src/a.cipher", Seal(t, l, "on the guest"), 0o644)
	return m
}

// Install puts kmsfs on the guest under a path.
func (m *Guest) Install(t *testing.T, path string) {
	t.Helper()
	m.Put(t, path, Read(t, filepath.Join(BinDir, "kmsfs")), 0o755)
}

// Outside is how a path of the guest is called outside of it.
func (m *Guest) Outside(path string) string { return fmt.Sprintf("/proc/%d/root%s", m.PID, path) }

// Put writes a file of the guest.
func (m *Guest) Put(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(m.Outside(path), []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(m.Outside(path), mode); err != nil {
		t.Fatal(err)
	}
}

// Command runs on the guest as root, in /srv.
func (m *Guest) Command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--target", Itoa(m.PID), "--mount", "--wd=" + m.Outside("/srv"), "--"}, args...)...)
	cmd.Env = WithEnv(m.lab.Env(), map[string]string{"KMSFS_ENDPOINT": "", "KMSFS_CA_FILE": "", "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR": ""})
	return cmd
}

// Run runs a command on the guest as root.
func (m *Guest) Run(t *testing.T, args ...string) Outcome {
	t.Helper()
	return RunCommand(t, m.Command(args...))
}

// RunAs runs as a user, without any privilege.
func (m *Guest) RunAs(t *testing.T, user int, args ...string) Outcome {
	t.Helper()
	return m.Run(t, append([]string{"setpriv", "--reuid=" + Itoa(user), "--regid=" + Itoa(user), "--clear-groups", "--inh-caps=-all", "--"}, args...)...)
}

// Must runs what has to succeed, and returns what it printed.
func (m *Guest) Must(t *testing.T, args ...string) string {
	t.Helper()
	o := m.Run(t, args...)
	if o.Code != 0 {
		t.Fatalf("%q: exit code %d\n%s%s", args, o.Code, o.Stdout, o.Stderr)
	}
	return o.Stdout
}

// Options are the -o that every mount on the guest needs, and more.
func (m *Guest) Options(more ...string) string {
	return strings.Join(append(more, "allow_emulator,region="+lab.Region+",endpoint="+m.lab.Endpoint+",ca_file=/srv/ca.pem"), ",")
}

// Mounts are the lines of the mount table with kmsfs, at a mountpoint or all.
func (m *Guest) Mounts(point string) (lines []string) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", m.PID))
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, " - fuse.kmsfs ") && (point == "" || strings.Fields(line)[4] == point) {
			lines = append(lines, line)
		}
	}
	return lines
}

// Processes are those that live on the guest, except the first.
func (m *Guest) Processes() (found []int) {
	namespace, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", m.PID))
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		if ns, err := os.Readlink(d + "/ns/mnt"); err != nil || ns != namespace || pid == m.PID || m.CommandLine(pid) == "" {
			continue // zombies have no command line
		}
		found = append(found, pid)
	}
	return found
}

// CommandLine is that of a process, empty where there is none.
func (m *Guest) CommandLine(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.ReplaceAll(string(b), "\x00", " ")
}

// Idle waits until nothing of kmsfs is left on the guest.
func (m *Guest) Idle(t *testing.T) {
	t.Helper()
	Eventually(t, "nothing is left", func() bool { return len(m.Processes()) == 0 })
	if left := m.Mounts(""); len(left) > 0 {
		t.Errorf("still mounted: %q", left)
	}
}
