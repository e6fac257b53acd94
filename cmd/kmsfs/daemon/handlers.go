package daemon

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/time/rate"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/kms"
)

// Flushes are limited: each one costs calls to the service at the next opens.
const (
	flushesPerSecond = 1
	flushBurst       = 5
)

// handlers are what a running mount shows of itself, and lets be done to it.
type handlers struct {
	*daemon
	started     time.Time
	flushes     *rate.Limiter
	reloads     chan *supervise.Program // asks run to hand over
	successions chan *net.UnixConn      // to a process that is ready to answer
}

func newHandlers(d *daemon) *handlers {
	return &handlers{
		daemon: d, started: time.Now(), flushes: rate.NewLimiter(flushesPerSecond, flushBurst),
		reloads: make(chan *supervise.Program, 1), successions: make(chan *net.UnixConn),
	}
}

// verbs are those of the control socket.
func (h *handlers) verbs() control.Handlers {
	offered := control.Handlers{Status: h.status, Flush: h.flush, Reload: h.reload}
	if h.in.Service {
		offered.Succeed = h.succeed
	}
	return offered
}

// succeed lets the server of the next holder follow this one.
func (h *handlers) succeed(conn *net.UnixConn) {
	if err := supervise.OfferLifeline(conn, h.files.Lifeline()); err != nil {
		h.log.Warn("serving on: "+err.Error(), "mountpoint", h.Point)
		return
	}
	h.successions <- conn
	select {} // the connection is the successor's sign that this process has ended
}

// flush forgets plaintext, so many times a second at most.
func (h *handlers) flush(ctx context.Context, uid int, paths []string) (*control.Flushed, error) {
	if !h.flushes.Allow() {
		return nil, ui.Failf("too many flushes").Hint("one per second is possible; without PATH, one is enough for all files")
	}
	n, err := h.files.Drop(ctx, paths)
	h.log.Info("flush", "uid", uid, "paths", len(paths), "plaintexts", n)
	return &control.Flushed{Plaintexts: n}, err
}

// reload lets the program that is installed now take over, if it is trusted, and
// fit.
func (h *handlers) reload(uid int) (begin func(), err error) {
	to, err := h.successor()
	if err != nil {
		h.log.Warn("no reload: "+err.Error(), "uid", uid)
		return nil, ui.Failf("%w; the mount is served on as before", err).
			Hint("what is run in its place must belong to root or to who mounted, " +
				"and must find what it needs: credentials, certificates, a log")
	}
	h.log.Info("reload", "uid", uid)
	return func() {
		select {
		case h.reloads <- to:
		default: // one is under way
			to.Close()
		}
	}, nil
}

func (h *handlers) status() *control.Status {
	c, g, failures := h.plaintexts.Stats(), h.gate.Load().Stats(), h.files.Failures()
	s := &control.Status{
		Mountpoint: ui.ASCIIName(h.Point), Source: ui.ASCIIName(h.Source), PID: os.Getpid(), Version: h.Version,
		Started: h.started.UTC(), UptimeSeconds: seconds(time.Since(h.started)),
		Open: h.Mode(), TTLSeconds: seconds(h.TTL), RefreshSeconds: seconds(h.Refresh), StaleSeconds: seconds(h.Stale),
		TimeoutSeconds: seconds(h.Timeout),
		Cache: control.CacheStatus{
			Entries: c.Entries, Stale: c.Stale, StaleServed: c.StaleServed, Refreshes: c.Refreshes, Loading: c.Loading,
			Bytes: c.Bytes, MaxBytes: c.Max,
			Hits: c.Hits, Misses: c.Misses, Loads: c.Loads, LoadErrors: c.LoadErrors, Remembered: c.Remembered,
			Evicted: c.Evictions, Expired: c.Expired, Purged: c.Purged, Wiped: c.Wiped,
		},
		KMS: control.KMSStatus{
			Calls: g.Calls, Retries: g.Retries, Throttled: g.Throttled, Unanswered: g.Lost, Cooled: g.Cooled, Crowded: g.Crowded,
			Waiting: g.Waiting, InFlight: g.InFlight, QPS: g.QPS,
			Breaker: g.Breaker.String(), BreakerSince: g.Since.UTC(), BreakerOpened: g.Opened, BreakerRefused: g.Refused,
		},
		Errors: []control.ErrorStatus{}, Warnings: append([]string{}, h.warnings.inForce()...),
	}
	for _, f := range failures {
		s.Errors = append(s.Errors, control.ErrorStatus{
			Class: f.Class, Count: f.Count, Last: f.At.UTC(), Path: f.Path, RequestID: f.RequestID, Text: f.Text, Hint: f.Hint,
		})
		if f.Class == kms.ClassName(kms.ErrDenied) || f.Class == kms.ClassName(kms.ErrKeyState) {
			s.Refusals += f.Count
		}
	}
	return s
}

// state is a line for everybody on the machine: how many, never which.
func (h *handlers) state() string {
	c, g := h.plaintexts.Stats(), h.gate.Load().Stats()
	return fmt.Sprintf("Mounted; %d plaintexts in memory, %d calls to KMS, breaker %s", c.Entries, g.Calls, g.Breaker)
}

// seconds has milliseconds and no more.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
