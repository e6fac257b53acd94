package supervise

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/fs/session"
)

// endedSession is one whose connection ends while it is stopped for a successor.
type endedSession struct {
	line      *session.Lifeline
	restarted bool
}

func (s *endedSession) Quiesce(time.Duration) bool { return true }
func (s *endedSession) Stop(time.Duration) bool {
	s.line.Close()
	return true
}
func (s *endedSession) Restart()                    { s.restarted = true }
func (s *endedSession) Lifeline() *session.Lifeline { return s.line }

// A mount that is unmounted during a hand-over stays unmounted: nobody becomes
// another process, which would find nothing left and mount anew.
func TestNothingIsHandedOverOfAMountThatHasEnded(t *testing.T) {
	var files [3]*os.File
	for i := range files {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		files[i] = f
	}
	s := &endedSession{line: &session.Lifeline{Device: files[0], Journal: files[1], Source: files[2]}}
	program, err := ownProgram()
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Reexec(program, s, time.Second, "/", Inheritance{}); !errors.Is(err, errMountEnded) || !s.restarted {
		t.Errorf("%v, restarted: %t", err, s.restarted)
	}
}
