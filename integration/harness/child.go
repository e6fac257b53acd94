package harness

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Child is what the program of a package's tests can be besides itself: a process
// of its own for what may block, end in a signal, or be another user's.
type Child string

// childEnv says which one it is, and for what.
const childEnv = "KMSFS_TEST_CHILD"

var children = map[string]func(arg string){}

// NewChild is for a variable of the package. do ends the process, or returns
// when that has done its work.
func NewChild(name string, do func(arg string)) Child {
	if children[name] != nil {
		panic("two children are called " + name)
	}
	children[name] = do
	return Child(name)
}

// becomeChild does not return in a child.
func becomeChild() {
	if name, arg, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		children[name](arg)
		os.Exit(0)
	}
}

// Env makes a process of this program the child.
func (c Child) Env(arg string) string { return childEnv + "=" + string(c) + " " + arg }

// Command is the child, with an environment that holds nothing else.
func (c Child) Command(arg string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err) // of the kernel: it is always known
	}
	cmd := exec.Command(self)
	cmd.Env = []string{c.Env(arg)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// talk starts the child, which is told lines and answers, and ends it with the
// test.
func (c Child) talk(t testing.TB, arg string) (tell io.Writer, said io.Reader) {
	t.Helper()
	cmd := c.Command(arg)
	tell, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if said, err = cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		ended := make(chan struct{})
		go func() {
			cmd.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(Patience):
			t.Errorf("the process %d cannot be killed", cmd.Process.Pid)
		}
	})
	return tell, said
}
