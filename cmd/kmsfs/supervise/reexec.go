package supervise

import (
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

// Reexec hands the mount over to the program as it lies on disk now, under the
// same path and with the same arguments: this process becomes it. It returns
// only if that is not possible, and serves on. quiescence is how long what the
// kernel is being told may take.
func Reexec(s Session, quiescence time.Duration, directory string, in Inheritance) error {
	program, err := TrustedProgram()
	if err != nil {
		return err
	}
	defer program.Close()
	path := program.Path
	// execve waits for every thread, also for one that tells the kernel
	// something; that may wait for a request which only we answer.
	if !s.Quiesce(quiescence) {
		return fmt.Errorf("hand over to %s: pages are being taken back from the kernel, behind reads that do not end", path)
	}
	s.Stop(StopPatience)
	line := s.Lifeline()
	numbers := map[string]int{session.DeviceName: int(line.Device.Fd()), session.JournalName: int(line.Journal.Fd()), session.SourceName: int(line.Source.Fd())}
	if in.holder != nil {
		numbers[holderName] = int(in.holder.Fd())
	}
	_ = Notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic()))
	syscall.ForkLock.Lock() // nobody is started while these are inherited
	for _, fd := range numbers {
		unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
	err = syscall.Exec(program.open(), os.Args, in.passOn(numbers, directory))
	for _, fd := range numbers {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.Unlock()
	s.Restart()
	_ = Notify("READY=1")
	return fmt.Errorf("hand over to %s: %w", path, err)
}

func monotonic() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano() / 1000
}
