// Package machine boots a real systemd on a copy of this machine, for tests of
// what an admin writes: units, fstab, packages. The copy is a layer in memory
// over this machine's own files, with processes, network and mounts of its
// own; it ends with the process that booted it, and leaves nothing.
package machine

import (
	"bytes"
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

//go:embed boot.sh
var bootScript string

// patience bounds every wait for something that should be there soon.
const patience = 60 * time.Second

// Machine is a running systemd.
type Machine struct {
	name    string
	dir     string
	nspawn  *exec.Cmd
	ended   chan struct{} // closed when nspawn has ended
	console console
	leader  int // systemd, as this machine's processes see it
}

var booted atomic.Int64

// Boot starts a machine and waits until systemd has started everything.
// The directory must exist; nobody but the machine sees what is mounted there.
func Boot(dir string) (*Machine, error) {
	for _, p := range []string{"systemd-nspawn", "nsenter", "unshare"} {
		if _, err := exec.LookPath(p); err != nil {
			return nil, fmt.Errorf("boot: %w; make setup installs it", err)
		}
	}
	m := &Machine{name: fmt.Sprintf("kmsfs-%d-%d", os.Getpid(), booted.Add(1)), dir: dir, ended: make(chan struct{})}
	m.nspawn = exec.Command("unshare", "--mount", "--propagation=private",
		"sh", "-c", bootScript, "boot.sh", dir, m.name, cgroupRoot())
	m.nspawn.Stdout, m.nspawn.Stderr = &m.console, &m.console
	m.nspawn.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := m.nspawn.Start(); err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	go func() {
		m.nspawn.Wait()
		close(m.ended)
	}()
	if err := m.waitRunning(); err != nil {
		m.Shutdown()
		return nil, fmt.Errorf("boot: %w\n%s", err, m.console.String())
	}
	return m, nil
}

// waitRunning waits until every unit of the boot has been started.
func (m *Machine) waitRunning() error {
	late := time.After(patience)
	for {
		select {
		case <-m.ended:
			return fmt.Errorf("the machine ended")
		case <-late:
			return fmt.Errorf("the machine was not up in time")
		case <-time.After(10 * time.Millisecond):
		}
		if m.leader = m.findLeader(); m.leader == 0 {
			continue
		}
		state, _ := m.Command("systemctl", "is-system-running", "--wait").Output()
		switch strings.TrimSpace(string(state)) {
		case "running":
			return nil
		case "degraded":
			failed, _ := m.Run("systemctl", "--failed", "--no-legend")
			return fmt.Errorf("units failed: %s", failed)
		}
	}
}

// findLeader is the child of nspawn that has become systemd.
func (m *Machine) findLeader() int {
	pid := m.nspawn.Process.Pid
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for child := range strings.FieldsSeq(string(children)) {
		name, _ := os.ReadFile("/proc/" + child + "/comm")
		if string(name) == "systemd\n" {
			leader, _ := strconv.Atoi(child)
			return leader
		}
	}
	return 0
}

// Command is a program in the machine, run as root.
func (m *Machine) Command(args ...string) *exec.Cmd {
	enter := []string{"--target=" + strconv.Itoa(m.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--wdns=/", "--"}
	cmd := exec.Command("nsenter", append(enter, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "SYSTEMD_PAGER=cat", "SYSTEMD_COLORS=0", "DEBIAN_FRONTEND=noninteractive"}
	return cmd
}

// Run runs a program in the machine and returns what it prints.
func (m *Machine) Run(args ...string) (string, error) {
	out, err := m.Command(args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Path is a file of the machine as this machine's processes see it. Absolute
// links on the way would lead out.
func (m *Machine) Path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(m.leader), "root", path)
}

// Write makes a file in the machine as a deployment would, with the
// directories above it: beside, then renamed.
func (m *Machine) Write(path, content string, mode fs.FileMode) error {
	path = m.Path(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	beside := filepath.Join(filepath.Dir(path), ".new")
	if err := os.WriteFile(beside, []byte(content), mode); err != nil {
		return err
	}
	return os.Rename(beside, path)
}

// Network is the path of the machine's network namespace.
func (m *Machine) Network() string { return fmt.Sprintf("/proc/%d/ns/net", m.leader) }

// Shutdown powers the machine off, and removes what it was.
func (m *Machine) Shutdown() error {
	var failed error
	select {
	case <-m.ended: // its number may be another's by now
		m.leader = 0
	default:
	}
	if m.leader != 0 {
		syscall.Kill(m.leader, syscall.Signal(34+4)) // SIGRTMIN+4, see systemd(1)
		select {
		case <-m.ended:
		case <-time.After(patience):
			failed = fmt.Errorf("shut down: the machine did not end\n%s", m.console.String())
		}
	}
	m.nspawn.Process.Kill() // and systemd with it, if it is still there
	<-m.ended
	if err := m.removeCgroups(); err != nil {
		return err
	}
	return failed
}

// console keeps what the machine's console shows.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}
