package invalidate

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Setting the clock, here to what it is, is noticed.
func TestClockThatIsSetIsNoticed(t *testing.T) {
	jumped := make(chan struct{}, 100)
	c, err := WatchClock(func() { jumped <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
			t.Fatal(err)
		}
		tv := unix.NsecToTimeval(now.Nano())
		if err := unix.Settimeofday(&tv); errors.Is(err, unix.EPERM) {
			t.Skip("SKIPPED, NOT TESTED: setting the clock needs CAP_SYS_TIME")
		} else if err != nil {
			t.Fatal(err)
		}
		select {
		case <-jumped:
		case <-time.After(20 * time.Second):
			t.Fatal("it was not noticed")
		}
	}
}
