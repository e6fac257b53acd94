package fs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/kms"
)

// opened is the record of one open: who, what, with which result.
type opened struct {
	begun     time.Time
	caller    caller
	path      string
	hash      [sha256.Size]byte // of the ciphertext
	version   string            // key version of the ciphertext; empty while nobody knows it
	requestID string            // of the call that decrypted it
	hit       bool              // no call was waited for
	stale     bool              // its ttl was over, but no call was answered
	err       error
}

func (f *FS) logOpen(r *opened, status fuse.Status) { f.log("open", r, status) }

// logDecrypt records what open=fast sees of a reader: a call, or its failure.
func (f *FS) logDecrypt(r *opened, status fuse.Status) { f.log("decrypt", r, status) }

func (f *FS) log(what string, r *opened, status fuse.Status) {
	level := slog.LevelInfo
	if !status.Ok() {
		level = slog.LevelWarn
	}
	ctx := context.Background()
	if !f.cfg.Log.Enabled(ctx, level) {
		return
	}
	a := append(make([]slog.Attr, 0, 14),
		slog.Uint64("uid", uint64(r.caller.uid)), slog.Uint64("gid", uint64(r.caller.gid)), slog.Uint64("tgid", uint64(r.caller.tgid)),
		slog.String("path", printable(r.path)),
		slog.String("result", resultName(status)),
		slog.String("duration", milliseconds(time.Since(r.begun))))
	if r.hash != [sha256.Size]byte{} {
		a = append(a, slog.String("ciphertext", hex.EncodeToString(r.hash[:8])))
		if r.version != "" {
			a = append(a, slog.String("key_version", r.version))
		}
		a = append(a, slog.Bool("cached", r.hit))
	}
	if r.stale {
		a = append(a, slog.Bool("stale", true))
	}
	if r.requestID != "" {
		a = append(a, slog.String("request_id", r.requestID))
	}
	if r.err != nil {
		a = append(a, slog.String("error", printable(r.err.Error())))
		if e, ok := errors.AsType[*kms.Error](r.err); ok && e.Hint != "" {
			a = append(a, slog.String("hint", e.Hint))
		}
	}
	f.cfg.Log.LogAttrs(ctx, level, what, a...)
}

// logRead reports a descriptor that could not be read any more: its version
// had to be decrypted again and was not.
func (f *FS) logRead(h *handle, c caller, status fuse.Status, err error) {
	f.cfg.Log.Warn("read", "uid", c.uid, "gid", c.gid, "tgid", c.tgid, "path", printable(h.rel),
		"result", resultName(status), "error", printable(err.Error()))
}

// milliseconds is a duration in plain ASCII, unlike its String.
func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 3, 64) + "ms"
}

func resultName(s fuse.Status) string {
	if s.Ok() {
		return "ok"
	}
	return s.String()
}

// printable returns s if it is plain ASCII, and otherwise a quoted form with
// escapes for all that is not, from which every byte can be told: no name can
// pretend to be another one, or another line, or speak to a terminal.
func printable(s string) string {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return strconv.QuoteToASCII(s)
		}
	}
	return s
}
