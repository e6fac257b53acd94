package daemon

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/cache/secmem"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs"
	"github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/kms/gate"
)

const (
	// failedFor is how long the failure of a load is the answer for its file:
	// a reader in a loop, or a kernel that reads again, costs no second call.
	failedFor = time.Second
	// badFor is the same for a ciphertext that the service could not open.
	badFor = 3 * time.Second
)

// daemon is what answers for one mount.
type daemon struct {
	Config
	in         supervise.Inheritance
	log        *slog.Logger
	warnings   *warnings
	gate       atomic.Pointer[gate.Gate]
	plaintexts *cache.Cache
	files      *fs.FS
	closer     *supervise.Closer // runs while nobody would start a successor
	ended      <-chan struct{}   // nobody has it mounted any more
	undo       []func()          // done by close, the last first
}

// Serve mounts and answers until the filesystem is unmounted or a signal
// ends it. ready is told once, when the mount answers; nil in the foreground.
func Serve(ctx context.Context, c Config, ready *supervise.Readiness, in supervise.Inheritance) error {
	signal.Ignore(syscall.SIGPIPE) // the end of who reads the log is not the end of the mount
	// What a shell left open is not for a command that is run for credentials.
	unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err := secmem.ProtectProcess(); err != nil {
		return err
	}
	d := &daemon{Config: c, in: in}
	defer d.close()
	if err := d.assemble(); err != nil {
		return err
	}
	if in.Rehearsal {
		return d.rehearse(ready)
	}
	// Until here a signal just ends the process: there is nothing to undo. From
	// here on it unmounts.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	d.undo = append(d.undo, stop)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	var err error
	if err := in.AwaitPredecessor(); err != nil {
		return err
	}
	if d.ended, err = d.files.Mount(); err != nil {
		return &MountError{err}
	}
	orphaned := in.Orphaned()
	d.startCloser(orphaned)
	if ctx.Err() != nil {
		return errors.Join(ui.Failf("mount: ended by a signal before it was ready"), d.end())
	}
	offered := newHandlers(d)
	if heard, err := d.announce(ready, offered); err != nil || !heard {
		return errors.Join(err, d.end())
	}
	go supervise.FeedWatchdog(ctx, d.Point, d.Getenv, offered.state)
	return d.run(ctx, stop, hup, offered, orphaned)
}

// close undoes what has been put together.
func (d *daemon) close() {
	for _, undo := range slices.Backward(d.undo) {
		undo()
	}
}

// assemble puts together what answers, and mounts nothing yet.
func (d *daemon) assemble() error {
	out, err := d.openLog(d.in.Background)
	if err != nil && d.in.Line != nil && !d.in.Rehearsal {
		out, err = d.inheritLog(err)
	}
	if err != nil {
		return err
	}
	d.undo = append(d.undo, out.end)
	d.log, d.in.Log = out.Logger, out.file
	if d.in.Rehearsal {
		d.log = slog.New(slog.DiscardHandler) // what it would say, the successor says
	}
	d.warnings = &warnings{log: d.log}
	if out.flaw != "" {
		d.warnings.remember(out.flaw)
	}
	if out.flaw == noSystemLog {
		ui.Warn(d.Stderr, noSystemLog)
	}
	for _, w := range secmem.LockProcess() {
		d.warnings.warn(w)
	}
	decrypter, err := d.connectOrLater()
	if err != nil {
		return err
	}
	if len(d.Keys) == 0 {
		d.warnings.warn("keys= is not given: whatever our identity can decrypt is served, whichever key encrypted it")
	}
	memory, err := secmem.New(secmem.Config{Max: int(d.CacheSize), RequireMlock: d.RequireMlock})
	if err != nil {
		return ui.Failf("lock memory: %w", err).Hint("raise the limit (ulimit -l, LimitMEMLOCK=), run as root, or drop require_mlock")
	}
	d.undo = append(d.undo, func() { memory.Close() })
	if w := memory.Warning(); w != "" {
		d.warnings.warn(w)
	}
	d.plaintexts, err = cache.New(cache.Config{
		TTL: d.TTL, Refresh: min(d.Refresh, d.TTL/2), Stale: d.Stale, MaxBytes: int(d.CacheSize), LoadTimeout: d.Timeout, Memory: memory,
		Remember: rememberFor, Judge: troubleOf,
	})
	if err != nil {
		return err
	}
	d.undo = append(d.undo, d.plaintexts.Close)
	d.files, err = fs.New(fs.Config{
		Mount:    mount.Spec{Source: d.Source, Point: d.Point, Device: d.Device, AllowOther: d.AllowOther, Shared: d.Shared},
		Lifeline: d.in.Line, Decrypter: decrypter, Recogniser: d.Recogniser, Cache: d.plaintexts,
		Context: d.Context, BindNames: d.BindNames, Encoding: d.Encoding,
		FileMode: d.FileMode, DirMode: d.DirMode, UID: d.UID, GID: d.GID, Plain: d.Plain, Fast: d.Fast,
		Log: d.log, Warn: d.warnings.warn, ReadBySystemd: d.warnOfSystemd(),
	})
	return err
}

// announce tells all who wait for the mount. heard is false if nobody waits for
// it any more.
func (d *daemon) announce(ready *supervise.Readiness, offered *handlers) (heard bool, err error) {
	if socket, err := control.Listen(d.Point, d.Getenv, offered.verbs()); err != nil {
		d.warnings.warn("no control socket, so kmsfs status and flush do not work here: " + ui.PlainPath(err).Error())
	} else {
		d.undo = append(d.undo, socket.Close)
	}
	if d.in.Give != nil {
		if err := supervise.GiveLifeline(d.in.Give, d.files.Lifeline()); err != nil {
			return false, err
		}
	}
	if ready != nil && !ready.Report() && !d.in.Service {
		return false, nil // kmsfs mount was killed meanwhile
	}
	d.log.Info("mounted", "source", d.Source, "mountpoint", d.Point, "pid", os.Getpid(), "version", d.Version)
	if err := supervise.NotifyUntilHeard("READY=1\nSTATUS=Mounted"); err != nil {
		d.log.Warn(err.Error())
	}
	return true, nil
}

// run waits for the end of the mount, and hands it over when that is asked for.
func (d *daemon) run(ctx context.Context, stop context.CancelFunc, hup <-chan os.Signal, asked *handlers, orphaned <-chan struct{}) error {
	handOver := func(to *supervise.Program) {
		defer to.Close()
		d.log.Info("handing over", "mountpoint", d.Point, "pid", os.Getpid())
		err := supervise.Reexec(to, &handed{FS: d.files, closer: d.closer}, d.quiescence(), d.Directory, d.in)
		d.log.Error("serving on: " + err.Error())
	}
	var alone <-chan time.Time
	for ctx.Err() == nil {
		select {
		case <-d.ended:
			d.log.Info("unmounted", "mountpoint", d.Point)
			d.closer.Stop()
			return nil
		case <-hup:
			if ui.IsTerminal(d.Stderr) { // the terminal has gone
				stop()
				return d.end()
			}
			if to, err := d.successor(); err != nil {
				d.log.Error("serving on: " + err.Error())
			} else {
				handOver(to)
			}
		case to := <-asked.reloads:
			handOver(to)
		case successor := <-asked.successions:
			d.log.Info("ended; its successor answers", "mountpoint", d.Point)
			quiet := d.files.Quiesce(successionPatience)
			d.closer.Stop() // the successor answers
			d.leave()
			supervise.ReportStopped(successor, !quiet)
			return nil
		case <-orphaned:
			orphaned = nil
			if d.in.Service {
				alone = time.After(supervise.OrphanPatience)
				d.log.Info("its holder has ended; serving on until the next one takes over",
					"mountpoint", d.Point, "for", supervise.OrphanPatience)
			} else {
				d.log.Warn("the process that starts a successor has died; if this one is killed as well, the mount ends")
			}
		case <-alone:
			d.log.Error("the mount ends: nobody has taken over", "mountpoint", d.Point)
			d.files.Dismiss()
			d.quiesceAndLeave()
			return nil
		case <-ctx.Done():
		}
	}
	supervise.Notify("STOPPING=1\nSTATUS=Stopping")
	if d.in.Service {
		d.log.Info("ended by a signal", "mountpoint", d.Point)
		d.files.Dismiss()
		d.quiesceAndLeave()
		return nil
	}
	stop() // a second signal ends the process at once
	return d.end()
}

// successor is the program that may take over: it lies on disk under our path, and
// has shown that it can serve this mount with what there is at the moment.
func (d *daemon) successor() (*supervise.Program, error) {
	program, err := supervise.TrustedProgram()
	if err != nil {
		return nil, err
	}
	if err := program.Rehearse(d.files.Lifeline(), d.Directory, d.in); err != nil {
		program.Close()
		return nil, err
	}
	return program, nil
}

// rehearse has put everything together, and tells so who has asked.
func (d *daemon) rehearse(ready *supervise.Readiness) error {
	if err := d.in.Line.CheckJournal(); err != nil {
		return err
	}
	ready.Report()
	return nil
}
