package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/time/rate"

	"github.com/kmsfs/kmsfs/cache"
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

// reply answers one request of the control socket.
func (w *window) reply(ctx context.Context, uid int, r request) response {
	if r.Verb != "flush" {
		b, err := json.Marshal(w.status())
		if err != nil {
			return response{Error: err.Error()}
		}
		if r.Verb == "status" {
			return response{Status: b}
		}
		if _, err := trustedProgram(); err != nil {
			return response{Error: err.Error(), Hint: "what is run in its place must belong to root or to who mounted"}
		}
		w.known.log.Info("reload", "uid", uid)
		return response{Status: b, after: func() {
			select {
			case w.reloads <- struct{}{}:
			default: // one is under way
			}
		}}
	}
	if !w.flushes.Allow() {
		return response{Error: "too many flushes", Hint: "one per second is possible; without PATH, one is enough for all files"}
	}
	ctx, cancel := context.WithTimeout(ctx, flushPatience)
	defer cancel()
	paths := make([]string, len(r.Paths))
	for i, p := range r.Paths {
		if paths[i] = string(p); paths[i] == "." {
			paths = nil // the mount itself
			break
		}
	}
	n, err := w.files.Drop(ctx, paths)
	w.known.log.Info("flush", "uid", uid, "paths", len(paths), "plaintexts", n)
	if err != nil {
		return response{Error: err.Error(), Flush: &flushed{n}}
	}
	return response{Flush: &flushed{n}}
}

func (w *window) status() *status {
	c, g, failures := w.cache.Stats(), w.gate.Stats(), w.files.Failures()
	s := &status{
		Mountpoint: ui.ASCIIName(w.m.point), Source: ui.ASCIIName(w.m.source), PID: os.Getpid(), Version: version,
		Started: w.started.UTC(), UptimeSeconds: seconds(time.Since(w.started)),
		Open: w.m.Mode(), TTLSeconds: seconds(w.m.TTL), RefreshSeconds: seconds(w.m.Refresh), StaleSeconds: seconds(w.m.Stale), TimeoutSeconds: seconds(w.m.Timeout),
		Cache: cacheStatus{
			Entries: c.Entries, Stale: c.Stale, StaleServed: c.StaleServed, Refreshes: c.Refreshes, Loading: c.Loading, Bytes: c.Bytes, MaxBytes: c.Max,
			Hits: c.Hits, Misses: c.Misses, Loads: c.Loads, LoadErrors: c.LoadErrors, Remembered: c.Remembered,
			Evicted: c.Evictions, Expired: c.Expired, Purged: c.Purged, Wiped: c.Wiped,
		},
		KMS: kmsStatus{
			Calls: g.Calls, Retries: g.Retries, Throttled: g.Throttled, Unanswered: g.Lost, Cooled: g.Cooled, Crowded: g.Crowded,
			Waiting: g.Waiting, InFlight: g.InFlight, QPS: g.QPS,
			Breaker: g.Breaker.String(), BreakerSince: g.Since.UTC(), BreakerOpened: g.Opened, BreakerRefused: g.Refused,
		},
		Errors: []errorStatus{}, Warnings: append([]string{}, w.known.inForce()...),
	}
	for _, f := range failures {
		s.Errors = append(s.Errors, errorStatus{f.Class, f.Count, f.At.UTC(), f.Path, f.RequestID, f.Text})
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
