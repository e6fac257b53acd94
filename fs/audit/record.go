// Package audit says who opened what and with which result, and remembers what
// failed. Everything it prints is plain ASCII: whoever may write to the source
// chooses the names in it.
//
// It knows no FUSE: an answer is its errno, 0 for success.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"syscall"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

// Log records what was decided, and keeps what is told of it later.
type Log struct {
	to       *slog.Logger
	queue    queue
	threads  threads
	failures failures
	outage   outage
}

// New writes to a logger. Where records are required, what cannot be recorded
// is not to be opened.
func New(to *slog.Logger, required bool) *Log {
	l := &Log{to: to, threads: threads{of: map[uint32]uint32{}}, failures: failures{of: map[string]Failure{}}}
	l.queue.init(required, l.write, func(n int) { to.Warn("records lost", "records", n) })
	return l
}

// Open is the record of one open: who, what, with which result.
type Open struct {
	Event      Event
	Begun      time.Time
	Caller     Caller
	Path       string
	Result     syscall.Errno     // what the caller is answered
	Hash       [sha256.Size]byte // of the ciphertext
	KeyVersion string            // of the ciphertext; empty while nobody knows it
	RequestID  string            // of the call that decrypted it
	Cached     bool              // no call was waited for
	Stale      bool              // its ttl was over, but no call was answered
	Err        error
}

// Event is what a record is of.
type Event string

const (
	Opened    Event = "open"
	Decrypted Event = "decrypt" // what open=fast sees of a reader: a call, or its failure
	Reread    Event = "read"    // of a descriptor whose version had to be decrypted again
)

// Record takes the record of an open before the opener is answered. An error
// means that there will be none: then the open must fail. Writing is
// not waited for.
func (l *Log) Record(o Open) error { return l.queue.put(o, time.Now()) }

// Flush writes what was recorded so far.
func (l *Log) Flush() { l.queue.flush() }

// write writes one record. Its time is that of the answer.
func (l *Log) write(o *Open, at time.Time) error {
	level := slog.LevelInfo
	if o.Result != 0 {
		level = slog.LevelWarn
	}
	ctx := context.Background()
	if !l.to.Enabled(ctx, level) {
		return nil
	}
	r := slog.NewRecord(at, level, string(o.Event), 0)
	a := append(make([]slog.Attr, 0, 14),
		slog.Uint64("uid", uint64(o.Caller.UID)), slog.Uint64("gid", uint64(o.Caller.GID)), slog.Uint64("tgid", uint64(o.Caller.TGID)),
		slog.String("path", Printable(o.Path)),
		slog.String("result", resultName(o.Result)),
		slog.String("duration", milliseconds(at.Sub(o.Begun))))
	if o.Hash != [sha256.Size]byte{} {
		a = append(a, slog.String("ciphertext", hex.EncodeToString(o.Hash[:8])))
		if o.KeyVersion != "" {
			a = append(a, slog.String("key_version", o.KeyVersion))
		}
		a = append(a, slog.Bool("cached", o.Cached))
	}
	if o.Stale {
		a = append(a, slog.Bool("stale", true))
	}
	if o.RequestID != "" {
		a = append(a, slog.String("request_id", o.RequestID))
	}
	if o.Err != nil {
		a = append(a, slog.String("error", Printable(o.Err.Error())))
		if e, ok := errors.AsType[*kms.Error](o.Err); ok && e.Hint != "" {
			a = append(a, slog.String("hint", e.Hint))
		}
	}
	r.AddAttrs(a...)
	return l.to.Handler().Handle(ctx, r)
}

// milliseconds is a duration in plain ASCII, unlike its String.
func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 3, 64) + "ms"
}

func resultName(errno syscall.Errno) string {
	if errno == 0 {
		return "ok"
	}
	return fmt.Sprintf("%d=%v", int(errno), errno)
}

// Printable returns s if it is plain ASCII, and otherwise a quoted form with
// escapes for all that is not, from which every byte can be told: no name can
// pretend to be another one, or another line, or speak to a terminal.
func Printable(s string) string {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return strconv.QuoteToASCII(s)
		}
	}
	return s
}
