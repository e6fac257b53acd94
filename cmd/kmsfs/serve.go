package main

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

// serve mounts and answers until the filesystem is unmounted or a signal
// ends it. ready is told once, when the mount answers; nil in the foreground.
func (m *mounting) serve(ctx context.Context, ready *supervise.Readiness, in supervise.Inheritance) error {
	signal.Ignore(syscall.SIGPIPE) // the end of who reads the log is not the end of the mount
	// What a shell left open is not for a command that is run for credentials.
	unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err := secmem.ProtectProcess(); err != nil {
		return err
	}
	log, closeLog, err := m.openLog(in.Background)
	if err != nil {
		return err
	}
	defer closeLog()
	known := &warnings{log: log}
	if m.unrecorded {
		known.remember(noSystemLog)
	}
	for _, w := range secmem.LockProcess() {
		known.warn(w)
	}
	client, err := newClient(m.Settings, m.p.getenv, log)
	if err != nil {
		return err
	}
	defer client.Close()
	known.remember(client.Warnings()...)
	decrypter, gate, err := newDecrypter(m.Settings, client)
	if err != nil {
		return err
	}
	if len(m.Keys) == 0 {
		known.warn("keys= is not given: whatever our identity can decrypt is served, whichever key encrypted it")
	}
	memory, err := secmem.New(secmem.Config{Max: int(m.CacheSize), RequireMlock: m.RequireMlock})
	if err != nil {
		return ui.Failf("lock memory: %w", err).Hint("raise the limit (ulimit -l, LimitMEMLOCK=), run as root, or drop require_mlock")
	}
	defer memory.Close()
	if w := memory.Warning(); w != "" {
		known.warn(w)
	}
	plaintexts, err := cache.New(cache.Config{
		TTL: m.TTL, Refresh: min(m.Refresh, m.TTL/2), Stale: m.Stale, MaxBytes: int(m.CacheSize), LoadTimeout: m.Timeout, Memory: memory,
		Remember: rememberFor, Judge: troubleOf, Joined: kms.Join,
	})
	if err != nil {
		return err
	}
	defer plaintexts.Close()
	files, err := fs.New(fs.Config{
		Source: m.source, Mountpoint: m.point, Device: m.device, Shared: m.Shared, Lifeline: in.Line, Decrypter: decrypter, Cache: plaintexts,
		Context: m.Context, BindNames: m.BindNames, Encoding: m.Encoding,
		FileMode: m.FileMode, DirMode: m.DirMode, UID: m.UID, GID: m.GID, AllowOther: m.AllowOther, Plain: m.Plain, Fast: m.Fast, Log: log, Warn: known.warn,
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
		return m.explainMount(err)
	}
	if ctx.Err() != nil {
		return errors.Join(ui.Failf("mount: ended by a signal before it was ready"), m.end(files, ended, log.Warn))
	}
	window := newWindow(m, files, plaintexts, gate, known)
	if socket, err := control.Listen(m.point, m.p.getenv, window.handlers()); err != nil {
		known.warn("no control socket, so kmsfs status and flush do not work here: " + ui.PlainPath(err).Error())
	} else {
		defer socket.Close()
	}
	if in.Give != nil {
		if err := supervise.GiveLifeline(in.Give, files.Lifeline()); err != nil {
			return errors.Join(err, m.end(files, ended, log.Warn))
		}
	}
	if in.Stored && in.Line == nil {
		if err := supervise.StoreLifeline(files.Lifeline()); err != nil {
			known.warn("no successor can take over: " + err.Error())
		}
	}
	if ready != nil && !ready.Report() {
		return m.end(files, ended, log.Warn) // kmsfs mount was killed meanwhile
	}
	log.Info("mounted", "source", m.source, "mountpoint", m.point, "pid", os.Getpid(), "version", version)
	if err := supervise.Notify("READY=1\nSTATUS=Mounted"); err != nil {
		log.Warn(err.Error())
	}
	go supervise.FeedWatchdog(ctx, m.point, m.p.getenv, window.state)
	go in.WatchHolder(log)
	handOver := func() {
		log.Info("handing over", "mountpoint", m.point, "pid", os.Getpid())
		log.Error("serving on: " + supervise.Reexec(files, m.directory, in).Error())
	}
	for ctx.Err() == nil {
		select {
		case <-ended:
			log.Info("unmounted", "mountpoint", m.point)
			return nil
		case <-hup:
			if ui.IsTerminal(m.p.stderr) { // it has been closed
				stop()
				return m.end(files, ended, log.Warn)
			}
			handOver()
		case <-window.reloads:
			handOver()
		case <-ctx.Done():
		}
	}
	if in.Stored {
		supervise.Notify("STOPPING=1\nSTATUS=Stopping")
		log.Info("ended; whether a successor takes over is up to systemd", "mountpoint", m.point)
		if !files.Stop(supervise.StopPatience) {
			files.Abandon() // what is under way would be answered with an error; a successor begins it anew
		}
		return nil
	}
	supervise.Notify("STOPPING=1\nSTATUS=Unmounting")
	stop() // a second signal ends the process at once
	return m.end(files, ended, log.Warn)
}

// end unmounts after a signal. Files that are still open do not keep the
// process: with it ends the connection, and their readers get an error.
func (m *mounting) end(files *fs.FS, ended <-chan struct{}, warn func(string, ...any)) error {
	err := files.Unmount(false)
	if errors.Is(err, errors.ErrUnsupported) {
		warn("ended; who mounted it must unmount it", "mountpoint", m.point)
		return nil
	}
	if errors.Is(err, syscall.EBUSY) {
		warn("unmounted while files are open; their readers get an error now", "mountpoint", m.point)
		return files.Unmount(true)
	}
	if err != nil && !errors.Is(err, syscall.EINVAL) { // EINVAL: somebody else was faster
		return err
	}
	select {
	case <-ended:
	case <-time.After(time.Second):
		warn("still mounted elsewhere (a bind mount, another mount namespace); readers there get an error now", "mountpoint", m.point)
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
