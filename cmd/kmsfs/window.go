package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/time/rate"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs"
	"github.com/kmsfs/kmsfs/kms"
)

// Flushes are limited: each one costs calls to the service at the next opens.
const (
	flushesPerSecond = 1
	flushBurst       = 5
)

// window is what a running mount shows of itself, and lets be done to it.
type window struct {
	m       *mounting
	files   *fs.FS
	cache   *cache.Cache
	gate    *kms.Gate
	known   *warnings
	started time.Time
	flushes *rate.Limiter
	reloads chan struct{} // asks serve to hand over
}

func newWindow(m *mounting, files *fs.FS, c *cache.Cache, gate *kms.Gate, known *warnings) *window {
	return &window{m, files, c, gate, known, time.Now(), rate.NewLimiter(flushesPerSecond, flushBurst), make(chan struct{}, 1)}
}

// handlers are what the control socket offers.
func (w *window) handlers() control.Handlers {
	return control.Handlers{Status: w.status, Flush: w.flush, Reload: w.reload}
}

// flush forgets plaintext, so many times a second at most.
func (w *window) flush(ctx context.Context, uid int, paths []string) (*control.Flushed, error) {
	if !w.flushes.Allow() {
		return nil, ui.Failf("too many flushes").Hint("one per second is possible; without PATH, one is enough for all files")
	}
	n, err := w.files.Drop(ctx, paths)
	w.known.log.Info("flush", "uid", uid, "paths", len(paths), "plaintexts", n)
	return &control.Flushed{Plaintexts: n}, err
}

// reload lets the program that is installed now take over, if it is trusted.
func (w *window) reload(uid int) (begin func(), err error) {
	if _, err := supervise.TrustedProgram(); err != nil {
		return nil, ui.Failf("%w", err).Hint("what is run in its place must belong to root or to who mounted")
	}
	w.known.log.Info("reload", "uid", uid)
	return func() {
		select {
		case w.reloads <- struct{}{}:
		default: // one is under way
		}
	}, nil
}

func (w *window) status() *control.Status {
	c, g, failures := w.cache.Stats(), w.gate.Stats(), w.files.Failures()
	s := &control.Status{
		Mountpoint: ui.ASCIIName(w.m.point), Source: ui.ASCIIName(w.m.source), PID: os.Getpid(), Version: version,
		Started: w.started.UTC(), UptimeSeconds: seconds(time.Since(w.started)),
		Open: w.m.Mode(), TTLSeconds: seconds(w.m.TTL), RefreshSeconds: seconds(w.m.Refresh), StaleSeconds: seconds(w.m.Stale), TimeoutSeconds: seconds(w.m.Timeout),
		Cache: control.CacheStatus{
			Entries: c.Entries, Stale: c.Stale, StaleServed: c.StaleServed, Refreshes: c.Refreshes, Loading: c.Loading, Bytes: c.Bytes, MaxBytes: c.Max,
			Hits: c.Hits, Misses: c.Misses, Loads: c.Loads, LoadErrors: c.LoadErrors, Remembered: c.Remembered,
			Evicted: c.Evictions, Expired: c.Expired, Purged: c.Purged, Wiped: c.Wiped,
		},
		KMS: control.KMSStatus{
			Calls: g.Calls, Retries: g.Retries, Throttled: g.Throttled, Unanswered: g.Lost, Cooled: g.Cooled, Crowded: g.Crowded,
			Waiting: g.Waiting, InFlight: g.InFlight, QPS: g.QPS,
			Breaker: g.Breaker.String(), BreakerSince: g.Since.UTC(), BreakerOpened: g.Opened, BreakerRefused: g.Refused,
		},
		Errors: []control.ErrorStatus{}, Warnings: append([]string{}, w.known.inForce()...),
	}
	for _, f := range failures {
		s.Errors = append(s.Errors, control.ErrorStatus{Class: f.Class, Count: f.Count, Last: f.At.UTC(), Path: f.Path, RequestID: f.RequestID, Text: f.Text})
		if f.Class == kms.ClassName(kms.ErrDenied) || f.Class == kms.ClassName(kms.ErrKeyState) {
			s.Refusals += f.Count
		}
	}
	return s
}

// state is a line for everybody on the machine: how many, never which.
func (w *window) state() string {
	c, g := w.cache.Stats(), w.gate.Stats()
	return fmt.Sprintf("Mounted; %d plaintexts in memory, %d calls to KMS, breaker %s", c.Entries, g.Calls, g.Breaker)
}

// seconds has milliseconds and no more.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
