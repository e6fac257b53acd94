package daemon

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"slices"
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
	"github.com/kmsfs/kmsfs/kms"
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
	gate       *gate.Gate
	plaintexts *cache.Cache
	files      *fs.FS
	closer     *supervise.Closer // nil while somebody else would start a successor
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
	// Until here a signal just ends the process: there is nothing to undo. From
	// here on it unmounts.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	d.undo = append(d.undo, stop)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	var err error
	if d.ended, err = d.files.Mount(); err != nil {
		return &MountError{err}
	}
	if in.Alone() {
		d.closer = supervise.NewCloser(d.files.Lifeline(), d.Point, d.warnings.warn)
		d.closer.Start()
	}
	if ctx.Err() != nil {
		return errors.Join(ui.Failf("mount: ended by a signal before it was ready"), d.end())
	}
	offered := newHandlers(d)
	if heard, err := d.announce(ready, offered); err != nil || !heard {
		return errors.Join(err, d.end())
	}
	go supervise.FeedWatchdog(ctx, d.Point, d.Getenv, offered.state)
	go in.WatchHolder(d.log)
	return d.run(ctx, stop, hup, offered.reloads)
}

// close undoes what has been put together.
func (d *daemon) close() {
	for _, undo := range slices.Backward(d.undo) {
		undo()
	}
}

// assemble puts together what answers, and mounts nothing yet.
func (d *daemon) assemble() error {
	log, closeLog, recorded, err := d.openLog(d.in.Background)
	if err != nil {
		return err
	}
	d.undo = append(d.undo, closeLog)
	d.log, d.warnings = log, &warnings{log: log}
	if !recorded {
		d.warnings.remember(noSystemLog)
	}
	for _, w := range secmem.LockProcess() {
		d.warnings.warn(w)
	}
	service, err := d.Connect(log)
	if err != nil {
		return err
	}
	d.undo = append(d.undo, service.Close)
	d.gate = service.Gate
	d.warnings.remember(service.Warnings...)
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
		Lifeline: d.in.Line, Decrypter: service.Decrypter, Recogniser: service.Recogniser, Cache: d.plaintexts,
		Context: d.Context, BindNames: d.BindNames, Encoding: d.Encoding,
		FileMode: d.FileMode, DirMode: d.DirMode, UID: d.UID, GID: d.GID, Plain: d.Plain, Fast: d.Fast, Log: log, Warn: d.warnings.warn,
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
	if d.in.Stored && d.in.Line == nil {
		if err := supervise.StoreLifeline(d.files.Lifeline()); err != nil {
			d.warnings.warn("no successor can take over: " + err.Error())
		}
	}
	if ready != nil && !ready.Report() {
		return false, nil // kmsfs mount was killed meanwhile
	}
	d.log.Info("mounted", "source", d.Source, "mountpoint", d.Point, "pid", os.Getpid(), "version", d.Version)
	if err := supervise.Notify("READY=1\nSTATUS=Mounted"); err != nil {
		d.log.Warn(err.Error())
	}
	return true, nil
}

// run waits for the end of the mount, and hands it over when that is asked for.
func (d *daemon) run(ctx context.Context, stop context.CancelFunc, hup <-chan os.Signal, reloads <-chan struct{}) error {
	handOver := func() {
		d.log.Info("handing over", "mountpoint", d.Point, "pid", os.Getpid())
		d.log.Error("serving on: " + supervise.Reexec(handed{d.files, d.closer}, d.quiescence(), d.Directory, d.in).Error())
	}
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
			handOver()
		case <-reloads:
			handOver()
		case <-ctx.Done():
		}
	}
	if d.in.Stored {
		supervise.Notify("STOPPING=1\nSTATUS=Stopping")
		d.log.Info("ended; whether a successor takes over is up to systemd", "mountpoint", d.Point)
		d.files.Quiesce(d.quiescence()) // exit waits for what is being notified, too
		if !d.files.Stop(supervise.StopPatience) {
			d.files.Abandon() // what is under way would be answered with an error; a successor begins it anew
		}
		return nil
	}
	supervise.Notify("STOPPING=1\nSTATUS=Unmounting")
	stop() // a second signal ends the process at once
	return d.end()
}

// handed is the filesystem when it is handed over: the successor has a closer of
// its own.
type handed struct {
	*fs.FS
	closer *supervise.Closer
}

// Stop implements supervise.Session.
func (h handed) Stop(patience time.Duration) bool {
	h.closer.Stop()
	return h.FS.Stop(patience)
}

// Restart implements supervise.Session.
func (h handed) Restart() {
	h.closer.Start()
	h.FS.Restart()
}

// end unmounts after a signal. Files that are still open do not keep the
// process: with it ends the connection, and their readers get an error.
func (d *daemon) end() error {
	d.files.Dismiss() // who waits for a plaintext gets an error now, so that nothing else has to wait for that
	if d.files.Quiesce(d.quiescence()) {
		defer d.closer.Stop()
	}
	err := d.files.Unmount(false)
	if errors.Is(err, errors.ErrUnsupported) {
		d.log.Warn("ended; who mounted it must unmount it", "mountpoint", d.Point)
		return nil
	}
	if errors.Is(err, syscall.EBUSY) {
		d.log.Warn("unmounted while files are open; their readers get an error now", "mountpoint", d.Point)
		return d.files.Unmount(true)
	}
	if err != nil && !errors.Is(err, syscall.EINVAL) { // EINVAL: somebody else was faster
		return err
	}
	select {
	case <-d.ended:
	case <-time.After(time.Second):
		d.log.Warn("still mounted elsewhere (a bind mount, another mount namespace); readers there get an error now", "mountpoint", d.Point)
	}
	return nil
}

// quiescence is how long the kernel may take for what it is being told: as long
// as a read, for which it waits, but within the time that a unit has to stop.
func (d *daemon) quiescence() time.Duration { return min(d.Timeout+2*time.Second, 15*time.Second) }

// rememberFor keeps a failure from costing a call at every open.
func rememberFor(err error) time.Duration {
	if errors.Is(err, kms.ErrBadCiphertext) || errors.Is(err, kms.ErrBadAnswer) {
		return badFor
	}
	return failedFor
}

// troubleOf says what the failure of a call means for the plaintext that is in
// the cache. Rejected credentials and an account that is not set up say nothing
// about it; an implausible answer comes from somebody, so it is not silence
// either.
func troubleOf(err error) cache.Trouble {
	switch {
	case errors.Is(err, cache.ErrLate),
		errors.Is(err, kms.ErrTransient), errors.Is(err, kms.ErrAuthentication), errors.Is(err, kms.ErrConfiguration):
		return cache.Unavailable
	case errors.Is(err, kms.ErrDenied), errors.Is(err, kms.ErrKeyState), errors.Is(err, kms.ErrBadCiphertext):
		return cache.Refused
	}
	return cache.Failed
}
