package daemon

import (
	"log/slog"
	"log/syslog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

const noSystemLog = "there is no system log here and no log_file was given: opens will not be recorded"

// output is where a mount logs.
type output struct {
	*slog.Logger
	end  func()
	file *os.File // log_file, if that is it
	flaw string   // what is to be known of it; empty: nothing
}

// OpenLog is the log of a mount whose server is another process. file is what a
// server can write to that cannot open it.
func (c Config) OpenLog() (log *slog.Logger, file *os.File, end func(), err error) {
	out, err := c.openLog(true)
	return out.Logger, out.file, out.end, err
}

// openLog says where the log of a mount goes: the file that was asked for,
// else the journal if stderr leads there, else stderr in the foreground, else
// the system's log.
func (c Config) openLog(background bool) (output, error) {
	if c.LogFile != "" {
		// A link planted in its place must not choose what is appended to.
		f, err := os.OpenFile(c.LogFile, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return output{}, ui.Failf("open log_file: %w", ui.PlainPath(err))
		}
		return logTo(f), nil
	}
	if log, end := c.logToJournal(); log != nil {
		return output{Logger: log, end: end}, nil
	}
	if !background {
		u := newTextLog(c.Stderr)
		return output{Logger: slog.New(slog.NewTextHandler(u, nil)), end: u.close}, nil
	}
	w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "kmsfs")
	if err != nil {
		return output{Logger: slog.New(slog.DiscardHandler), end: func() {}, flaw: noSystemLog}, nil
	}
	u := newAsyncLog(w, textLoss)
	log := slog.New(slog.NewTextHandler(u, &slog.HandlerOptions{ReplaceAttr: dropTime}))
	return output{Logger: log, end: func() { u.close(); w.Close() }}, nil
}

func logTo(f *os.File) output {
	u := newTextLog(f)
	return output{Logger: slog.New(slog.NewTextHandler(u, nil)), end: func() { u.close(); f.Close() }, file: f}
}

// inheritLog is the log of a successor that cannot open log_file: what its
// predecessor had open, else the one of a mount without that option.
func (d *daemon) inheritLog(failed error) (output, error) {
	var out output
	var err error
	if d.in.Log != nil {
		out = logTo(d.in.Log)
		out.flaw = failed.Error() + "; what the process before had open is written to, until the next reload"
	} else {
		c := d.Config
		settings := *c.Settings
		settings.LogFile = ""
		c.Settings = &settings
		if out, err = c.openLog(d.in.Background); err != nil {
			return out, err
		}
		out.flaw = failed.Error() + "; the log goes elsewhere until the next reload"
	}
	out.Warn(out.flaw)
	return out, nil
}

// dropTime leaves the time to the system's log.
func dropTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
