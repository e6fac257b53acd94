package main

import (
	"io"
	"log/slog"
	"log/syslog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

const noSystemLog = "there is no system log here and no log_file was given: opens will not be recorded"

// openLog says where the log of a mount goes: the file that was asked for,
// else the journal if stderr leads there, else stderr in the foreground, else
// the system's log.
func (m *mounting) openLog(background bool) (*slog.Logger, func(), error) {
	if m.LogFile != "" {
		// A link planted in its place must not choose what is appended to.
		f, err := os.OpenFile(m.LogFile, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, nil, ui.Failf("open log_file: %w", ui.PlainPath(err))
		}
		u := newUnblocked(f)
		return slog.New(slog.NewTextHandler(u, nil)), func() { u.close(); f.Close() }, nil
	}
	if log, end := m.logToJournal(); log != nil {
		return log, end, nil
	}
	if !background {
		u := newUnblocked(m.p.stderr)
		return slog.New(slog.NewTextHandler(u, nil)), u.close, nil
	}
	w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "kmsfs")
	if err != nil {
		m.p.warn(noSystemLog)
		m.unrecorded = true
		return slog.New(slog.NewTextHandler(io.Discard, nil)), func() {}, nil
	}
	u := newUnblocked(w)
	return slog.New(slog.NewTextHandler(u, &slog.HandlerOptions{ReplaceAttr: dropTime})), func() { u.close(); w.Close() }, nil
}

// dropTime leaves the time to the system's log.
func dropTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
