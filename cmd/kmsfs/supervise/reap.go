package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// errUnending is how a server ended that cannot end.
var errUnending = errors.New("killed, but a thread of it waits in the kernel for an answer that its successor has to give")

// process is one that we have started.
type process interface {
	Signal(os.Signal) error
	Wait() error            // for the end of all its threads
	FirstThreadEnded() bool // whatever its other threads do
}

// child is a process of the system.
type child struct{ *exec.Cmd }

func (c child) Signal(sig os.Signal) error { return c.Process.Signal(sig) }

// FirstThreadEnded tells whether it is a zombie; nobody has waited for it.
func (c child) FirstThreadEnded() bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Process.Pid))
	_, state, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasPrefix(state, []byte("Z"))
}

// reap waits for the end of a server. One that is killed while it takes pages
// back from the kernel has a thread that no signal ends: it waits for a READ of
// these pages, which nobody would answer any more. Its first thread has ended by
// then; that it has is looked at twice, because for a moment this is so in
// every exec, too.
func (s *server) reap() error {
	ended := make(chan error, 1)
	go func() { ended <- s.Wait() }()
	for seen := 0; seen < 2; {
		select {
		case err := <-ended:
			return err
		case <-time.After(time.Second):
		}
		if seen++; !s.FirstThreadEnded() {
			seen = 0
		}
	}
	s.Signal(os.Kill) // an exec must not go on once that thread has ended
	return errUnending
}
