package cache

import (
	"time"

	"golang.org/x/sys/unix"
)

// Instant is a moment on two clocks: the boot clock, which nobody sets and
// which runs on while the machine sleeps, and the wall clock, which also knows
// what happened while a virtual machine was frozen.
type Instant struct {
	boot, wall int64 // nanoseconds
}

// since is the age of then: the greater one of the two, so that either clock
// is enough to end a life. A wall clock that was set back to before then makes
// its half negative and leaves the matter to the boot clock.
func (now Instant) since(then Instant) time.Duration {
	return time.Duration(max(now.boot-then.boot, now.wall-then.wall))
}

// earlier is the earlier one on each clock. The zero Instant is no moment.
func (now Instant) earlier(other Instant) Instant {
	if other == (Instant{}) {
		return now
	}
	return Instant{boot: min(now.boot, other.boot), wall: min(now.wall, other.wall)}
}

// skew is how far the wall clock is ahead of the boot clock.
func (now Instant) skew() int64 { return now.wall - now.boot }

// bootEvery is how old a reading of the boot clock may be. The reading is a
// system call, several times as long as the rest of a hit; in between, the
// monotonic clock tells how far it has come. A suspend inside that time is
// noticed this much (of running time) late, by the wall clock at once.
const bootEvery = time.Millisecond

// clock reads both clocks. Cache.mu guards it.
type clock struct {
	readBoot func() int64          // replaced by tests, which suspend machines
	readWall func(time.Time) int64 // and set clocks

	boot int64     // the last reading
	at   time.Time // when that was, for its monotonic half
}

func newClock() clock { return clock{readBoot: bootClock, readWall: time.Time.UnixNano} }

func (c *clock) now() Instant {
	t := time.Now()
	ago := t.Sub(c.at)
	if c.at.IsZero() || ago >= bootEvery {
		c.boot, c.at, ago = c.readBoot(), t, 0
	}
	return Instant{boot: c.boot + int64(ago), wall: c.readWall(t)}
}

// monotonic is when now was read.
func (c *clock) monotonic(now Instant) time.Time { return c.at.Add(time.Duration(now.boot - c.boot)) }

func bootClock() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("cache: CLOCK_BOOTTIME: " + err.Error()) // Linux has it since 2.6.39
	}
	return ts.Nano()
}
