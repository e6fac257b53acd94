package invalidate

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// Clock calls after each time that the wall clock jumped, which it also
// does when a suspended machine wakes up or a frozen one thaws. Timers run on
// a clock that knows of neither.
type Clock struct{ file *os.File }

// WatchClock begins to call.
func WatchClock(call func()) (*Clock, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	c := &Clock{os.NewFile(uintptr(fd), "clock watch")} // pollable: Close ends Read
	if err := c.arm(); err != nil {
		c.file.Close()
		return nil, err
	}
	go func() {
		var b [8]byte
		for {
			// The timer itself is due in some centuries.
			if _, err := c.file.Read(b[:]); !errors.Is(err, unix.ECANCELED) {
				return
			}
			if c.arm() != nil {
				return
			}
			call()
		}
	}()
	return c, nil
}

func (c *Clock) arm() error {
	never := unix.ItimerSpec{Value: unix.Timespec{Sec: math.MaxInt32}}
	rc, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := rc.Control(func(fd uintptr) {
		err = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil)
	}); cerr != nil {
		return cerr
	}
	return err
}

// Close ends it.
func (c *Clock) Close() { c.file.Close() }
