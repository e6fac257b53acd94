package supervise

import (
	"context"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// watchdogPeriod is how often systemd wants to hear from this process
// (WatchdogSec=); 0 is never.
func watchdogPeriod(getenv func(string) string) time.Duration {
	if pid := getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	µs, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || µs <= 0 {
		return 0
	}
	return time.Duration(µs) * time.Microsecond
}

// FeedWatchdog tells systemd for as long as the mount answers that it does,
// until the context ends. Proof is an answer of the mount itself, by the way
// that readers go: this process can be alive and its mount hang.
func FeedWatchdog(ctx context.Context, point string, getenv func(string) string, state func() string) {
	period := watchdogPeriod(getenv)
	if period == 0 {
		return
	}
	tick := time.NewTicker(period / 3)
	defer tick.Stop()
	for {
		answer := make(chan error, 1)
		go func() { answer <- askRoot(point) }()
		select { // the deadline is systemd's
		case <-ctx.Done():
			return
		case err := <-answer:
			if err == nil {
				Notify("WATCHDOG=1\nSTATUS=" + state())
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// askRoot asks for the attributes of the root. The kernel may not answer out
// of its cache; no file is opened, and KMS is not called.
func askRoot(point string) error {
	var st unix.Statx_t
	return unix.Statx(unix.AT_FDCWD, point, unix.AT_STATX_FORCE_SYNC|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st)
}
