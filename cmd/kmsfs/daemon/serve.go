package daemon

import (
	"context"
	"errors"
	"math"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/cache/secmem"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs"
	"github.com/kmsfs/kmsfs/kms"
)

const (
	// failedFor is how long the failure of a load is the answer for its file:
	// a reader in a loop, or a kernel that reads again, costs no second call.
	failedFor = time.Second
	// badFor is the same for a ciphertext that the service could not open.
	badFor = 3 * time.Second
)

// Serve mounts and answers until the filesystem is unmounted or a signal
// ends it. ready is told once, when the mount answers; nil in the foreground.
func Serve(ctx context.Context, c Config, ready *supervise.Readiness, in supervise.Inheritance) error {
	signal.Ignore(syscall.SIGPIPE) // the end of who reads the log is not the end of the mount
	// What a shell left open is not for a command that is run for credentials.
	unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err := secmem.ProtectProcess(); err != nil {
		return err
	}
	log, closeLog, recorded, err := c.openLog(in.Background)
	if err != nil {
		return err
	}
	defer closeLog()
	warned := &warnings{log: log}
	if !recorded {
		warned.remember(noSystemLog)
	}
	for _, w := range secmem.LockProcess() {
		warned.warn(w)
	}
	service, err := c.Connect(log)
	if err != nil {
		return err
	}
	defer service.Close()
	warned.remember(service.Warnings...)
	if len(c.Keys) == 0 {
		warned.warn("keys= is not given: whatever our identity can decrypt is served, whichever key encrypted it")
	}
	memory, err := secmem.New(secmem.Config{Max: int(c.CacheSize), RequireMlock: c.RequireMlock})
	if err != nil {
		return ui.Failf("lock memory: %w", err).Hint("raise the limit (ulimit -l, LimitMEMLOCK=), run as root, or drop require_mlock")
	}
	defer memory.Close()
	if w := memory.Warning(); w != "" {
		warned.warn(w)
	}
	plaintexts, err := cache.New(cache.Config{
		TTL: c.TTL, Refresh: min(c.Refresh, c.TTL/2), Stale: c.Stale, MaxBytes: int(c.CacheSize), LoadTimeout: c.Timeout, Memory: memory,
		Remember: rememberFor, Judge: troubleOf, Joined: kms.Join,
	})
	if err != nil {
		return err
	}
	defer plaintexts.Close()
	files, err := fs.New(fs.Config{
		Source: c.Source, Mountpoint: c.Point, Device: c.Device, Shared: c.Shared, Lifeline: in.Line, Decrypter: service.Decrypter, Cache: plaintexts,
		Context: c.Context, BindNames: c.BindNames, Encoding: c.Encoding,
		FileMode: c.FileMode, DirMode: c.DirMode, UID: c.UID, GID: c.GID, AllowOther: c.AllowOther, Plain: c.Plain, Fast: c.Fast, Log: log, Warn: warned.warn,
	})
	if err != nil {
		return err
	}
	// Until here a signal just ends the process: there is nothing to undo. From
	// here on it unmounts.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	ended, err := files.Mount()
	if err != nil {
		return &MountError{err}
	}
	if ctx.Err() != nil {
		return errors.Join(ui.Failf("mount: ended by a signal before it was ready"), c.end(files, ended, log.Warn))
	}
	offered := newHandlers(c, files, plaintexts, service.Gate, warned)
	if socket, err := control.Listen(c.Point, c.Getenv, offered.verbs()); err != nil {
		warned.warn("no control socket, so kmsfs status and flush do not work here: " + ui.PlainPath(err).Error())
	} else {
		defer socket.Close()
	}
	if in.Give != nil {
		if err := supervise.GiveLifeline(in.Give, files.Lifeline()); err != nil {
			return errors.Join(err, c.end(files, ended, log.Warn))
		}
	}
	if in.Stored && in.Line == nil {
		if err := supervise.StoreLifeline(files.Lifeline()); err != nil {
			warned.warn("no successor can take over: " + err.Error())
		}
	}
	if ready != nil && !ready.Report() {
		return c.end(files, ended, log.Warn) // kmsfs mount was killed meanwhile
	}
	log.Info("mounted", "source", c.Source, "mountpoint", c.Point, "pid", os.Getpid(), "version", c.Version)
	if err := supervise.Notify("READY=1\nSTATUS=Mounted"); err != nil {
		log.Warn(err.Error())
	}
	go supervise.FeedWatchdog(ctx, c.Point, c.Getenv, offered.state)
	go in.WatchHolder(log)
	handOver := func() {
		log.Info("handing over", "mountpoint", c.Point, "pid", os.Getpid())
		log.Error("serving on: " + supervise.Reexec(files, c.Directory, in).Error())
	}
	for ctx.Err() == nil {
		select {
		case <-ended:
			log.Info("unmounted", "mountpoint", c.Point)
			return nil
		case <-hup:
			if ui.IsTerminal(c.Stderr) { // the terminal has gone
				stop()
				return c.end(files, ended, log.Warn)
			}
			handOver()
		case <-offered.reloads:
			handOver()
		case <-ctx.Done():
		}
	}
	if in.Stored {
		supervise.Notify("STOPPING=1\nSTATUS=Stopping")
		log.Info("ended; whether a successor takes over is up to systemd", "mountpoint", c.Point)
		if !files.Stop(supervise.StopPatience) {
			files.Abandon() // what is under way would be answered with an error; a successor begins it anew
		}
		return nil
	}
	supervise.Notify("STOPPING=1\nSTATUS=Unmounting")
	stop() // a second signal ends the process at once
	return c.end(files, ended, log.Warn)
}

// end unmounts after a signal. Files that are still open do not keep the
// process: with it ends the connection, and their readers get an error.
func (c Config) end(files *fs.FS, ended <-chan struct{}, warn func(string, ...any)) error {
	err := files.Unmount(false)
	if errors.Is(err, errors.ErrUnsupported) {
		warn("ended; who mounted it must unmount it", "mountpoint", c.Point)
		return nil
	}
	if errors.Is(err, syscall.EBUSY) {
		warn("unmounted while files are open; their readers get an error now", "mountpoint", c.Point)
		return files.Unmount(true)
	}
	if err != nil && !errors.Is(err, syscall.EINVAL) { // EINVAL: somebody else was faster
		return err
	}
	select {
	case <-ended:
	case <-time.After(time.Second):
		warn("still mounted elsewhere (a bind mount, another mount namespace); readers there get an error now", "mountpoint", c.Point)
	}
	return nil
}

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
	case errors.Is(err, kms.ErrTransient), errors.Is(err, kms.ErrAuthentication), errors.Is(err, kms.ErrConfiguration), errors.Is(err, cache.ErrLate):
		return cache.Unavailable
	case errors.Is(err, kms.ErrDenied), errors.Is(err, kms.ErrKeyState), errors.Is(err, kms.ErrBadCiphertext):
		return cache.Refused
	}
	return cache.Failed
}
