package daemon

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"
)

// fields reads a datagram as journald does.
func fields(t *testing.T, datagram []byte) map[string]string {
	t.Helper()
	found := map[string]string{}
	for len(datagram) > 0 {
		line, rest, ok := bytes.Cut(datagram, []byte("\n"))
		if !ok {
			t.Fatalf("no end of line in %q", datagram)
		}
		name, value, short := strings.Cut(string(line), "=")
		if !short {
			n := binary.LittleEndian.Uint64(rest)
			value, rest = string(rest[8:8+n]), rest[8+n+1:]
		}
		if _, again := found[name]; again {
			t.Errorf("%s twice", name)
		}
		found[name], datagram = value, rest
	}
	return found
}

// Whatever a value holds, it is one field and nothing else.
func TestJournalFields(t *testing.T) {
	var sent bytes.Buffer
	log := slog.New(&journalHandler{w: &sent})
	log.With("mount", "m").Warn("open", "path", "a\nPRIORITY=0\n", "uid", 33, "key-id", "x=y")
	got := fields(t, sent.Bytes())
	for name, want := range map[string]string{
		"PRIORITY": "4", "SYSLOG_IDENTIFIER": "kmsfs", "KMSFS_MOUNT": "m", "KMSFS_PATH": "a\nPRIORITY=0\n", "KMSFS_UID": "33", "KMSFS_KEY_ID": "x=y",
		"MESSAGE": `msg=open path="a\nPRIORITY=0\n" uid=33 key-id="x=y" mount=m`,
	} {
		if got[name] != want {
			t.Errorf("%s is %q, not %q", name, got[name], want)
		}
	}
	if len(got) != 7 {
		t.Errorf("%d fields: %q", len(got), got)
	}
	sent.Reset()
	log.Debug("nobody asked for this")
	if sent.Len() != 0 {
		t.Errorf("sent %q", &sent)
	}
	if lost := fields(t, journalLoss(3)); !strings.Contains(lost["MESSAGE"], "lines=3") || lost["PRIORITY"] != "4" {
		t.Errorf("a loss is told as %q", lost)
	}
}
