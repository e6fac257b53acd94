package integration_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// patience bounds every wait for something that should be there soon.
const patience = 20 * time.Second

// newLab starts an emulator with a key.
func newLab(t testing.TB, args ...string) *lab.Lab {
	t.Helper()
	l, err := lab.Start(binDir, t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	if _, err := l.CreateKey(); err != nil {
		t.Fatal(err)
	}
	return l
}

// seal encrypts with kmsfs encrypt and returns the ciphertext.
func seal(t testing.TB, l *lab.Lab, plaintext string) string {
	t.Helper()
	blob, err := l.Kmsfs(strings.NewReader(plaintext), "encrypt", "--key", lab.Alias, "-")
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

// fault makes the key service misbehave, until it is mended.
func fault(t testing.TB, l *lab.Lab, f map[string]any) {
	t.Helper()
	if err := l.Fault(f); err != nil {
		t.Fatal(err)
	}
}

func mend(t testing.TB, l *lab.Lab) {
	t.Helper()
	if err := l.ClearFaults(); err != nil {
		t.Fatal(err)
	}
}

// put writes a file as a deployment would: under another name, then renamed.
func put(t testing.TB, path, content string) {
	t.Helper()
	tmp := filepath.Join(filepath.Dir(path), ".put")
	if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

// eachMode runs a test for each way to open.
func eachMode(t *testing.T, test func(t *testing.T, mode string)) {
	for _, mode := range []string{"checked", "fast"} {
		t.Run(mode, func(t *testing.T) { test(t, "open="+mode) })
	}
}

// mounted is a mount and the process that serves it: one in the foreground or,
// with -service, that of a unit.
type mounted struct {
	Source, Point string
	PID           int

	service string // the unit; without one, the process is cmd, and what follows is its
	socket  string // the unit's

	cmd  *exec.Cmd
	mu   sync.Mutex
	log  bytes.Buffer
	more chan struct{} // closed and renewed at each line
	done chan struct{} // closed when the process's log has ended
}

// mount mounts a fresh source, or the one given, and unmounts it after the
// test.
func mount(t testing.TB, l *lab.Lab, source string, options ...string) *mounted {
	t.Helper()
	if source == "" {
		source = t.TempDir()
	}
	return mountOn(t, l, source, t.TempDir(), options...)
}

// mountOn is mount with a mountpoint of the test's.
func mountOn(t testing.TB, l *lab.Lab, source, point string, options ...string) *mounted {
	t.Helper()
	needMount(t)
	m := &mounted{Source: source, Point: point}
	m.start(t, l, options...)
	return m
}

func (m *mounted) start(t testing.TB, l *lab.Lab, options ...string) {
	t.Helper()
	if *asService {
		m.startService(t, l, options...)
		return
	}
	args := []string{"mount", "--foreground", "-o", "allow_emulator"}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	m.cmd = l.Command(append(args, m.Source, m.Point)...)
	m.launch(t)
	t.Cleanup(func() { m.stop(t) })
	m.waitLog(t, "msg=mounted")
}

// launch starts the process and collects its log.
func (m *mounted) launch(t testing.TB) {
	t.Helper()
	m.more, m.done = make(chan struct{}), make(chan struct{})
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := m.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.PID = m.cmd.Process.Pid
	go func() {
		s := bufio.NewScanner(stderr)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			m.mu.Lock()
			m.log.Write(append(s.Bytes(), '\n'))
			close(m.more)
			m.more = make(chan struct{})
			m.mu.Unlock()
		}
		close(m.done)
	}()
}

// tail is the end of the log, for a failure's message.
func (m *mounted) tail() string {
	log := m.Log()
	return log[max(0, len(log)-3000):]
}

// Log is what the process has said.
func (m *mounted) Log() string {
	if m.service != "" {
		return m.journal()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.String()
}

// waitLog waits for a line that contains all the words, and returns it.
func (m *mounted) waitLog(t testing.TB, words ...string) string {
	t.Helper()
	late := time.After(patience)
	for {
		m.mu.Lock()
		more := m.more
		m.mu.Unlock()
		if m.service != "" {
			more = soon()
		}
	lines:
		for line := range strings.Lines(m.Log()) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			return strings.TrimSpace(line)
		}
		select {
		case <-more:
		case <-m.done:
			t.Fatalf("the process ended without the line %q:\n%s", words, m.tail())
		case <-late:
			t.Fatalf("no line with %q:\n%s", words, m.tail())
		}
	}
}

// stop ends the mount as a user would, and fails the test if that is not
// possible.
func (m *mounted) stop(t testing.TB) {
	if m.service != "" {
		m.stopService(t)
		return
	}
	if m.cmd.ProcessState != nil {
		return
	}
	out, err := exec.Command(filepath.Join(binDir, "kmsfs"), "umount", m.Point).CombinedOutput()
	if err != nil {
		t.Errorf("umount: %v\n%s\nlog:\n%s", err, out, m.tail())
		m.cmd.Process.Kill()
		syscall.Unmount(m.Point, syscall.MNT_DETACH)
	}
	select {
	case <-m.done:
	case <-time.After(patience):
		t.Errorf("the process did not end after its mount was gone:\n%s", m.tail())
		m.cmd.Process.Kill()
	}
	if err := m.cmd.Wait(); err != nil && !t.Failed() {
		t.Errorf("kmsfs mount: %v\n%s", err, m.tail())
	}
}

// signal is sent to the process that serves.
func (m *mounted) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(m.PID, s); err != nil {
		t.Errorf("%v: %v", s, err)
	}
}

// ends waits until the process has ended by itself, and in order.
func (m *mounted) ends(t testing.TB) {
	t.Helper()
	if m.service != "" {
		eventually(t, "the end of "+m.service, func() bool { return m.property(t, "ActiveState") == "inactive" })
		return
	}
	select {
	case <-m.done:
	case <-time.After(patience):
		t.Fatalf("the process goes on:\n%s", m.tail())
	}
	if err := m.cmd.Wait(); err != nil {
		t.Errorf("kmsfs mount: %v\n%s", err, m.tail())
	}
}

// kill ends the process as a crash would, and detaches what it leaves.
func (m *mounted) kill(t testing.TB) {
	t.Helper()
	m.cmd.Process.Kill()
	m.cmd.Wait()
	t.Cleanup(func() { syscall.Unmount(m.Point, syscall.MNT_DETACH) })
}

// path is a file in the mount.
func (m *mounted) path(name string) string { return filepath.Join(m.Point, name) }

// source is a file in the source.
func (m *mounted) source(name string) string { return filepath.Join(m.Source, name) }

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// waitRead waits for a replacement to be served.
func waitRead(t testing.TB, path, want string) {
	t.Helper()
	got := ""
	for begun := time.Now(); time.Since(begun) < patience; {
		if got = read(t, path); got == want {
			return
		}
	}
	t.Fatalf("%s still reads %.40q", path, got)
}

// decrypts is how many Decrypt calls the emulator has seen.
func decrypts(t testing.TB, l *lab.Lab) int {
	t.Helper()
	calls, err := l.Calls()
	if err != nil {
		t.Fatal(err)
	}
	return calls["Decrypt"]
}

// total is how many calls of any kind the emulator has seen.
func total(t testing.TB, l *lab.Lab) int {
	t.Helper()
	calls, err := l.Calls()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range calls {
		n += c
	}
	return n
}

// lengthy is a plaintext of n bytes that tells which one it is.
func lengthy(tag string, n int) string {
	return strings.Repeat(fmt.Sprintf("%s %d\n", tag, n), n)[:n]
}
