package supervise

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/session"
)

// StopPatience is how long a hand-over waits for requests that are under way.
// What takes longer, the successor begins anew.
const StopPatience = 200 * time.Millisecond

// Session is what this process serves, as far as another one goes on with it.
type Session interface {
	Quiesce(patience time.Duration) bool
	Stop(patience time.Duration) bool
	Restart()
	Lifeline() *session.Lifeline
}

// Reexec hands the mount over to another program, with the same arguments: this
// process becomes it. It returns only if that is not possible, and serves on.
// quiescence is how long what the kernel is being told may take.
func Reexec(program *Program, s Session, quiescence time.Duration, directory string, in Inheritance) error {
	// execve waits for every thread, also for one that tells the kernel
	// something; that may wait for a request which only we answer.
	if !s.Quiesce(quiescence) {
		return fmt.Errorf("hand over to %s: pages are being taken back from the kernel, behind reads that do not end", program.Path)
	}
	s.Stop(StopPatience)
	line := s.Lifeline()
	in.program = program.Path
	numbers := map[string]int{}
	for name, f := range map[string]*os.File{
		session.DeviceName: line.Device, session.JournalName: line.Journal, session.SourceName: line.Source,
		holderName: in.holder, logName: in.Log,
	} {
		if f != nil {
			numbers[name] = int(f.Fd())
		}
	}
	_ = Notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic()))
	syscall.ForkLock.Lock() // nobody is started while these are inherited
	var err error
	for _, fd := range numbers {
		// One that is closed meanwhile was let go because the mount has ended:
		// whoever finds nothing left to take over would mount anew.
		if _, cerr := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); cerr != nil {
			err = errMountEnded
		}
	}
	if err == nil {
		err = syscall.Exec(program.open(), os.Args, in.passOn(numbers, directory))
	}
	for _, fd := range numbers {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.Unlock()
	s.Restart()
	_ = NotifyUntilHeard("READY=1")
	return fmt.Errorf("hand over to %s: %w", program.Path, err)
}

// errMountEnded is why nothing is handed over, or taken over, any more.
var errMountEnded = errors.New("the mount has ended")

func monotonic() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano() / 1000
}
