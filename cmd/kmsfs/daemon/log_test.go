package daemon

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
)

func withLog(t *testing.T, file string) (Config, *bytes.Buffer) {
	t.Helper()
	var said bytes.Buffer
	return Config{Settings: &options.Settings{LogFile: file}, Stderr: &said, Getenv: func(string) string { return "" }}, &said
}

// A log file is appended to and is the owner's alone. A link that was planted in
// its place is not followed.
func TestLogFile(t *testing.T) {
	path := t.TempDir() + "/log"
	for _, text := range []string{"first", "second"} {
		c, _ := withLog(t, path)
		log, _, end, err := c.OpenLog()
		if err != nil {
			t.Fatal(err)
		}
		log.Info(text)
		end()
	}
	st, err := os.Stat(path)
	got, _ := os.ReadFile(path)
	if err != nil || st.Mode() != 0o600 || !strings.Contains(string(got), "msg=first\n") || !strings.HasSuffix(string(got), "msg=second\n") {
		t.Errorf("%v, %q", err, got)
	}
	if err := os.Symlink(path, path+".link"); err != nil {
		t.Fatal(err)
	}
	c, _ := withLog(t, path+".link")
	if _, _, _, err := c.OpenLog(); err == nil || !strings.HasPrefix(err.Error(), "open log_file: ") {
		t.Errorf("through a link: %v", err)
	}
}

// In the foreground the log is stderr, unless it is the journal.
func TestLogInForeground(t *testing.T) {
	c, said := withLog(t, "")
	log, err := c.openLog(false)
	if err != nil || log.flaw != "" {
		t.Fatal(log.flaw, err)
	}
	log.Warn("here")
	log.end()
	if !strings.Contains(said.String(), "level=WARN msg=here") {
		t.Errorf("%q", said)
	}
}

// What is warned of is logged once, and stays in force.
func TestWarningsStay(t *testing.T) {
	c, said := withLog(t, "")
	log, err := c.openLog(false)
	if err != nil {
		t.Fatal(err)
	}
	w := &warnings{log: log.Logger}
	w.remember("said elsewhere", "too")
	w.warn("now")
	log.end()
	if list := w.inForce(); len(list) != 3 || list[2] != "now" || strings.Count(said.String(), "level=WARN") != 1 {
		t.Errorf("%q, logged %q", list, said)
	}
}
