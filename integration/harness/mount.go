package harness

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// EachMode runs a test for each way to open.
func EachMode(t *testing.T, test func(t *testing.T, mode string)) {
	for _, mode := range []string{"checked", "fast"} {
		t.Run(mode, func(t *testing.T) { test(t, "open="+mode) })
	}
}

// EachModeAtOnce is EachMode for a test that waits much more than it works.
func EachModeAtOnce(t *testing.T, test func(t *testing.T, mode string)) {
	Together(t, map[string]func(*testing.T){
		"checked": func(t *testing.T) { test(t, "open=checked") },
		"fast":    func(t *testing.T) { test(t, "open=fast") },
	})
}

// Mounted is a mount and the process that serves it: one in the foreground or,
// with -service, that of a unit.
type Mounted struct {
	Source, Point string
	PID           int

	service string // the unit; without one, the process is cmd, and what follows is its
	socket  string // the unit's

	Cmd  *exec.Cmd
	mu   sync.Mutex
	log  bytes.Buffer
	Done chan struct{} // closed when the process's log has ended
}

// Mount mounts a fresh source, or the one given, and unmounts it after the
// test.
func Mount(t testing.TB, l *lab.Lab, source string, options ...string) *Mounted {
	t.Helper()
	if source == "" {
		source = t.TempDir()
	}
	return MountOn(t, l, source, t.TempDir(), options...)
}

// MountOn is Mount with a mountpoint of the test's.
func MountOn(t testing.TB, l *lab.Lab, source, point string, options ...string) *Mounted {
	t.Helper()
	NeedMount(t)
	m := &Mounted{Source: source, Point: point}
	m.Start(t, l, options...)
	return m
}

// Start starts the process, again after a Crash, and waits until it is mounted.
func (m *Mounted) Start(t testing.TB, l *lab.Lab, options ...string) {
	t.Helper()
	if *AsService {
		m.startService(t, l, options...)
		return
	}
	args := []string{"mount", "--foreground", "-o", "allow_emulator"}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	m.Cmd = l.Command(append(args, m.Source, m.Point)...)
	m.Launch(t)
	t.Cleanup(func() { m.Stop(t) })
	m.WaitLog(t, "msg=mounted")
}

// Launch starts the process and collects its log.
func (m *Mounted) Launch(t testing.TB) {
	t.Helper()
	m.Done = make(chan struct{})
	m.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := m.Cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.PID = m.Cmd.Process.Pid
	go func() {
		s := bufio.NewScanner(stderr)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			m.mu.Lock()
			m.log.Write(append(s.Bytes(), '\n'))
			m.mu.Unlock()
		}
		close(m.Done)
	}()
}

// Tail is the end of the log, for a failure's message.
func (m *Mounted) Tail() string {
	log := m.Log()
	return log[max(0, len(log)-3000):]
}

// Log is what the process has said.
func (m *Mounted) Log() string {
	if m.service != "" {
		return m.journal()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.String()
}

// WaitLog waits for a line that contains all the words, and returns it.
func (m *Mounted) WaitLog(t testing.TB, words ...string) string {
	t.Helper()
	found := ""
	Eventually(t, fmt.Sprintf("a line with %q", words), func() bool {
		ended := m.service == "" && isClosed(m.Done) // before the last look
	lines:
		for line := range strings.Lines(m.Log()) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			found = strings.TrimSpace(line)
			return true
		}
		if ended {
			t.Fatalf("the process ended without the line %q:\n%s", words, m.Tail())
		}
		return false
	}, m.Tail)
	return found
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Stop ends the mount as a user would, and fails the test if that is not
// possible.
func (m *Mounted) Stop(t testing.TB) {
	if m.service != "" {
		m.stopService(t)
		return
	}
	if m.Cmd.ProcessState != nil {
		return
	}
	out, err := exec.Command(filepath.Join(BinDir, "kmsfs"), "umount", m.Point).CombinedOutput()
	if err != nil {
		t.Errorf("umount: %v\n%s\nlog:\n%s", err, out, m.Tail())
		m.Cmd.Process.Kill()
		syscall.Unmount(m.Point, syscall.MNT_DETACH)
	}
	select {
	case <-m.Done:
	case <-time.After(Patience):
		t.Errorf("the process did not end after its mount was gone:\n%s", m.Tail())
		m.Cmd.Process.Kill()
	}
	if err := m.Cmd.Wait(); err != nil && !t.Failed() {
		t.Errorf("kmsfs mount: %v\n%s", err, m.Tail())
	}
}

// Signal is sent to the process that serves.
func (m *Mounted) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(m.PID, s); err != nil {
		t.Errorf("%v: %v", s, err)
	}
}

// WaitEnd waits until the process has ended by itself, and in order.
func (m *Mounted) WaitEnd(t testing.TB) {
	t.Helper()
	if m.service != "" {
		Eventually(t, "the end of "+m.service, func() bool { return m.property(t, "ActiveState") == "inactive" })
		return
	}
	select {
	case <-m.Done:
	case <-time.After(Patience):
		t.Fatalf("the process goes on:\n%s", m.Tail())
	}
	if err := m.Cmd.Wait(); err != nil {
		t.Errorf("kmsfs mount: %v\n%s", err, m.Tail())
	}
}

// Kill ends the process as a crash would, and detaches what it leaves.
func (m *Mounted) Kill(t testing.TB) {
	t.Helper()
	m.Cmd.Process.Kill()
	m.Cmd.Wait()
	t.Cleanup(func() { syscall.Unmount(m.Point, syscall.MNT_DETACH) })
}

// Path is a file in the mount.
func (m *Mounted) Path(name string) string { return filepath.Join(m.Point, name) }

// InSource is a file in the source.
func (m *Mounted) InSource(name string) string { return filepath.Join(m.Source, name) }

// Crash kills the process, and forgets its log.
func (m *Mounted) Crash() {
	m.Cmd.Process.Kill()
	<-m.Done
	m.Cmd.Wait()
	m.log.Reset()
}
