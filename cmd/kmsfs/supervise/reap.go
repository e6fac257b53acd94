package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/fs/session"
)

// errUnending is how a server ended that cannot end.
var errUnending = errors.New("killed, but a thread of it waits in the kernel for an answer that its successor has to give")

// process is one that we have started.
type process interface {
	Signal(os.Signal) error
	Wait() error    // for the end of all its threads
	Stranded() bool // nothing but answers of the kernel can end it
}

// child is a process of the system.
type child struct{ *exec.Cmd }

func (c child) Signal(sig os.Signal) error { return c.Process.Signal(sig) }

// Stranded tells whether it is a zombie but for threads that no signal ends;
// nobody has waited for it.
func (c child) Stranded() bool { return stranded(c.Process.Pid) }

func stranded(pid int) bool {
	state := func(stat string) string {
		b, _ := os.ReadFile(stat)
		_, after, _ := bytes.Cut(b, []byte(") "))
		return string(after[:min(1, len(after))])
	}
	if state(fmt.Sprintf("/proc/%d/stat", pid)) != "Z" {
		return false
	}
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	return !slices.ContainsFunc(threads, func(stat string) bool { return !strings.Contains("ZXD", state(stat)) })
}

const (
	// A server that says no more that it answers is looked at so often, after
	// 5, 10, 20, … ms. For a moment it looks stranded in every exec, too.
	looks     = 5
	firstLook = 5 * time.Millisecond
	// lastLook is the pause between looks at one that has never said so.
	lastLook = 250 * time.Millisecond
)

// reap waits for the end of a server. One that is killed while it takes pages
// back from the kernel has a thread that no signal ends: it waits for a READ of
// these pages, which nobody would answer any more.
func (s *server) reap() error {
	ended := make(chan error, 1)
	go func() { ended <- s.Wait() }()
	seen := 0
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		if line := s.line.Load(); line != nil && line.AttendedBy() == s.pid {
			select {
			case err := <-ended:
				return err
			case <-unattended(line):
				seen, pause = 0, firstLook
			}
		}
		select {
		case err := <-ended:
			return err
		case <-time.After(pause):
		}
		if seen++; !s.Stranded() {
			seen = 0
		}
		if seen == looks {
			s.Signal(os.Kill) // an exec must not go on once that thread has ended
			return errUnending
		}
	}
}

func unattended(line *session.Lifeline) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		line.AwaitUnattended()
	}()
	return done
}
