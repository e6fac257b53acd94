package daemon

import (
	"io"
	"log/slog"
	"log/syslog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

const noSystemLog = "there is no system log here and no log_file was given: opens will not be recorded"

// OpenLog is the log of a mount whose server is another process.
func (c Config) OpenLog() (log *slog.Logger, end func(), err error) {
	log, end, _, err = c.openLog(true)
	return log, end, err
}

// openLog says where the log of a mount goes: the file that was asked for,
// else the journal if stderr leads there, else stderr in the foreground, else
// the system's log. Where there is none, recorded is false.
func (c Config) openLog(background bool) (log *slog.Logger, end func(), recorded bool, err error) {
	if c.LogFile != "" {
		// A link planted in its place must not choose what is appended to.
		f, err := os.OpenFile(c.LogFile, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, nil, false, ui.Failf("open log_file: %w", ui.PlainPath(err))
		}
		u := newTextLog(f)
		return slog.New(slog.NewTextHandler(u, nil)), func() { u.close(); f.Close() }, true, nil
	}
	if log, end := c.logToJournal(); log != nil {
		return log, end, true, nil
	}
	if !background {
		u := newTextLog(c.Stderr)
		return slog.New(slog.NewTextHandler(u, nil)), u.close, true, nil
	}
	w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "kmsfs")
	if err != nil {
		ui.Warn(c.Stderr, noSystemLog)
		return slog.New(slog.NewTextHandler(io.Discard, nil)), func() {}, false, nil
	}
	u := newAsyncLog(w, textLoss)
	return slog.New(slog.NewTextHandler(u, &slog.HandlerOptions{ReplaceAttr: dropTime})), func() { u.close(); w.Close() }, true, nil
}

// dropTime leaves the time to the system's log.
func dropTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
