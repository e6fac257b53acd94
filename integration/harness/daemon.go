package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Daemon is a real server that runs beside a test, in a directory of its own.
// It belongs to the test and ends with it.
type Daemon struct {
	Dir  string
	Cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// StartDaemon starts a server in the foreground. What it says is in dir/log.
func StartDaemon(t *testing.T, dir string, cmd *exec.Cmd) *Daemon {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d := &Daemon{Dir: dir, Cmd: cmd, done: make(chan struct{})}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C"}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(d.done)
	}()
	t.Cleanup(d.Stop)
	return d
}

// Stop ends the server and waits for it.
func (d *Daemon) Stop() {
	d.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
	case <-time.After(Patience):
		d.Cmd.Process.Kill()
		<-d.done
	}
}

// Signal signals the server.
func (d *Daemon) Signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := d.Cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: %v\n%s", d.name(), err, d.Log())
	}
}

// Ended says whether the server has.
func (d *Daemon) Ended() bool {
	return isClosed(d.done)
}

func (d *Daemon) name() string { return filepath.Base(d.Cmd.Path) }

// Log is what the server has said.
func (d *Daemon) Log() string {
	b, _ := os.ReadFile(filepath.Join(d.Dir, "log"))
	return string(b)
}

// Until waits for something that the server should do.
func (d *Daemon) Until(t *testing.T, what string, done func() bool) {
	t.Helper()
	Eventually(t, d.name()+": "+what, func() bool {
		ended := d.Ended() // before the last look
		if done() {
			return true
		}
		if ended {
			t.Fatalf("%s ended before %s:\n%s", d.name(), what, d.Log())
		}
		return false
	}, d.Log)
}

// End waits for the server to end by itself.
func (d *Daemon) End(t *testing.T) {
	t.Helper()
	select {
	case <-d.done:
	case <-time.After(Patience):
		t.Fatalf("%s did not end:\n%s", d.name(), d.Log())
	}
}

// Children are the processes that the server has made itself.
func (d *Daemon) Children() []string {
	var pids []string
	lists, _ := filepath.Glob("/proc/" + Itoa(d.Cmd.Process.Pid) + "/task/*/children")
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		pids = append(pids, strings.Fields(string(b))...)
	}
	return pids
}
