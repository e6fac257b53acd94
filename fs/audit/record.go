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

// Log writes the records, and keeps what is told of them later.
type Log struct {
	to       *slog.Logger
	threads  threads
	failures failures
	outage   outage
}

// New writes to a logger.
func New(to *slog.Logger) *Log {
	return &Log{to: to, threads: threads{of: map[uint32]uint32{}}, failures: failures{of: map[string]Failure{}}}
}

// Open is the record of one open: who, what, with which result.
type Open struct {
	Begun      time.Time
	Caller     Caller
	Path       string
	Hash       [sha256.Size]byte // of the ciphertext
	KeyVersion string            // of the ciphertext; empty while nobody knows it
	RequestID  string            // of the call that decrypted it
	Cached     bool              // no call was waited for
	Stale      bool              // its ttl was over, but no call was answered
	Err        error
}

// Opened records an open.
func (l *Log) Opened(r *Open, result syscall.Errno) { l.record("open", r, result) }

// Decrypted records what open=fast sees of a reader: a call, or its failure.
func (l *Log) Decrypted(r *Open, result syscall.Errno) { l.record("decrypt", r, result) }

func (l *Log) record(what string, r *Open, result syscall.Errno) {
	level := slog.LevelInfo
	if result != 0 {
		level = slog.LevelWarn
	}
	ctx := context.Background()
	if !l.to.Enabled(ctx, level) {
		return
	}
	a := append(make([]slog.Attr, 0, 14),
		slog.Uint64("uid", uint64(r.Caller.UID)), slog.Uint64("gid", uint64(r.Caller.GID)), slog.Uint64("tgid", uint64(r.Caller.TGID)),
		slog.String("path", Printable(r.Path)),
		slog.String("result", resultName(result)),
		slog.String("duration", milliseconds(time.Since(r.Begun))))
	if r.Hash != [sha256.Size]byte{} {
		a = append(a, slog.String("ciphertext", hex.EncodeToString(r.Hash[:8])))
		if r.KeyVersion != "" {
			a = append(a, slog.String("key_version", r.KeyVersion))
		}
		a = append(a, slog.Bool("cached", r.Cached))
	}
	if r.Stale {
		a = append(a, slog.Bool("stale", true))
	}
	if r.RequestID != "" {
		a = append(a, slog.String("request_id", r.RequestID))
	}
	if r.Err != nil {
		a = append(a, slog.String("error", Printable(r.Err.Error())))
		if e, ok := errors.AsType[*kms.Error](r.Err); ok && e.Hint != "" {
			a = append(a, slog.String("hint", e.Hint))
		}
	}
	l.to.LogAttrs(ctx, level, what, a...)
}

// Unreadable reports a descriptor that could not be read any more: its version
// had to be decrypted again and was not.
func (l *Log) Unreadable(path string, c Caller, result syscall.Errno, err error) {
	l.to.Warn("read", "uid", c.UID, "gid", c.GID, "tgid", c.TGID, "path", Printable(path),
		"result", resultName(result), "error", Printable(err.Error()))
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
