package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"
)

// errUnending is how a server ended that cannot end.
var errUnending = errors.New("killed, but a thread of it waits in the kernel for an answer that its successor has to give")

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
		if seen++; !firstThreadEnded(s.Process.Pid) {
			seen = 0
		}
	}
	s.Process.Kill() // an exec must not go on once that thread has ended
	return errUnending
}

// firstThreadEnded tells whether a child that nobody has waited for is a
// zombie, whatever its other threads are.
func firstThreadEnded(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasPrefix(state, []byte("Z"))
}
