package daemon

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const journalSocket = "/run/systemd/journal/socket"

// stderrIsJournal tells whether systemd has connected our stderr to the
// journal, which then takes records with fields as well.
func stderrIsJournal(getenv func(string) string) bool {
	var st unix.Stat_t
	return unix.Fstat(2, &st) == nil && getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// openJournal connects to systemd's journal.
func openJournal() (io.WriteCloser, error) {
	return net.DialUnix("unixgram", nil, &net.UnixAddr{Name: journalSocket, Net: "unixgram"})
}

// journalHandler logs in the journal's own protocol: one datagram a record,
// with the text that other logs get as MESSAGE, and every attribute as a
// field, as in journalctl KMSFS_UID=33.
type journalHandler struct {
	w     io.Writer // a Write is a datagram
	attrs []slog.Attr
}

// priority is a level in the numbers of syslog(3).
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "3"
	case l >= slog.LevelWarn:
		return "4"
	}
	return "6"
}

func (h *journalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	r = r.Clone()
	r.AddAttrs(h.attrs...)
	var line, record bytes.Buffer
	text := slog.NewTextHandler(&line, &slog.HandlerOptions{ReplaceAttr: dropWhatJournalHas})
	if err := text.Handle(ctx, r); err != nil {
		return err
	}
	addField(&record, "MESSAGE", strings.TrimSuffix(line.String(), "\n"))
	addField(&record, "PRIORITY", priority(r.Level))
	addField(&record, "SYSLOG_IDENTIFIER", "kmsfs")
	r.Attrs(func(a slog.Attr) bool {
		addField(&record, fieldName(a.Key), a.Value.Resolve().String())
		return true
	})
	_, err := h.w.Write(record.Bytes())
	return err
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journalHandler{h.w, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup is not used in this program: the fields of the journal are flat.
func (h *journalHandler) WithGroup(string) slog.Handler { return h }

func dropWhatJournalHas(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey {
		return slog.Attr{}
	}
	return dropTime(groups, a)
}

// addField writes NAME=value, or with a length where the value has lines of
// its own: nothing in a value can begin a field.
func addField(b *bytes.Buffer, name, value string) {
	b.WriteString(name)
	if strings.ContainsRune(value, '\n') {
		b.WriteByte('\n')
		binary.Write(b, binary.LittleEndian, uint64(len(value)))
	} else {
		b.WriteByte('=')
	}
	b.WriteString(value)
	b.WriteByte('\n')
}

// fieldName is the name of a field, which has capitals, digits and _ only.
func fieldName(key string) string {
	return "KMSFS_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}

// journalLoss is what asyncLog says in the journal of lines that found no
// room.
func journalLoss(lost uint64) []byte {
	return fmt.Appendf(nil, "MESSAGE=%s\nPRIORITY=4\nSYSLOG_IDENTIFIER=kmsfs\n", strings.TrimSuffix(string(textLoss(lost)), "\n"))
}

// logToJournal returns nil where stderr is not the journal.
func (c Config) logToJournal() (*slog.Logger, func()) {
	if !stderrIsJournal(c.Getenv) {
		return nil, nil
	}
	journal, err := openJournal()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kmsfs: warning: no fields in the journal:", err)
		return nil, nil
	}
	u := newAsyncLog(journal, journalLoss)
	return slog.New(&journalHandler{w: u}), func() { u.close(); journal.Close() }
}
