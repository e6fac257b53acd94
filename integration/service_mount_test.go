package integration_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mounts "github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// asService is how TestSystemdSuite runs this program again: on a machine of
// its own, where it belongs to nobody but the tests.
var asService = flag.Bool("service", false, "mounts are served by kmsfs@.service of this machine, whose units it starts and stops")

// services is how many units have been started.
var services atomic.Int64

// quoted is a value in an environment file.
func quoted(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(value) + `"`
}

// startService describes the mount as an administrator would, and starts a unit
// of its own for it: what systemd counts of one belongs to no other.
func (m *mounted) startService(t testing.TB, l *lab.Lab, options ...string) {
	t.Helper()
	if l.Bin != binDir {
		t.Fatal("a unit runs the program that is installed, under no other one")
	}
	name := fmt.Sprintf("t%d-%d", os.Getpid(), services.Add(1))
	m.service = "kmsfs@" + name + ".service"
	options = append([]string{"allow_emulator", "endpoint=" + l.Endpoint, "ca_file=" + l.CAFile, "region=" + lab.Region}, options...)
	id, secret := labKey(l)
	for path, content := range map[string]string{
		"/etc/kmsfs/" + name + ".env": "SRC=" + quoted(m.Source) + "\nMNT=" + quoted(m.Point) + "\nOPTIONS=" + quoted(strings.Join(options, ",")) + "\n",
		"/etc/credstore/kmsfs." + name: configJSON(t, map[string]string{
			"name": "default", "mode": "AK", "access_key_id": id, "access_key_secret": secret, "region_id": lab.Region}),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(path) })
	}
	// Before what describes it is removed: its last step needs that, too.
	t.Cleanup(func() { m.stop(t) })
	if _, err := run("systemctl", "start", m.service); err != nil {
		journal, _ := run("journalctl", "--no-pager", "--unit="+m.service)
		t.Fatalf("%v\n%s", err, journal)
	}
	pid, err := strconv.Atoi(m.property(t, "MainPID"))
	if err != nil || pid == 0 {
		t.Fatalf("%s has no process (%v)", m.service, err)
	}
	m.PID, m.socket = pid, socketOf(t, m.Point)
	m.waitLog(t, "msg=mounted")
}

// property is what systemd says of the unit.
func (m *mounted) property(t testing.TB, name string) string {
	t.Helper()
	value, err := run("systemctl", "show", "--value", "--property="+name, m.service)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// journal is what the unit has logged so far, in the lines that a log file would
// have: there the level is part of them.
func (m *mounted) journal() string {
	if _, err := run("journalctl", "--sync"); err != nil {
		return err.Error()
	}
	records, err := exec.Command("journalctl", "--quiet", "--all", "--output=json", "_SYSTEMD_UNIT="+m.service).Output()
	if err != nil {
		return err.Error()
	}
	var log strings.Builder
	for line := range strings.Lines(string(records)) {
		var record struct {
			Message   any    `json:"MESSAGE"` // bytes that are no text are no string
			Priority  string `json:"PRIORITY"`
			Transport string `json:"_TRANSPORT"`
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			return err.Error()
		}
		if level := map[string]string{"3": "ERROR", "4": "WARN", "6": "INFO"}[record.Priority]; record.Transport == "journal" {
			fmt.Fprint(&log, "level=", level, " ")
		}
		fmt.Fprintln(&log, record.Message)
	}
	return log.String()
}

// soon is when the journal is worth another look.
func soon() chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(20*time.Millisecond, func() { close(c) })
	return c
}

// stopService stops the unit, and fails the test if anything is left of it.
func (m *mounted) stopService(t testing.TB) {
	if _, err := run("systemctl", "stop", m.service); err != nil {
		t.Errorf("%v\nlog:\n%s", err, m.tail())
	}
	for _, p := range []struct{ property, want string }{{"ActiveState", "inactive"}, {"Result", "success"}, {"NFileDescriptorStore", "0"}, {"NRestarts", "0"}} {
		if got := m.property(t, p.property); got != p.want {
			t.Errorf("%s has %s=%s\n%s", m.service, p.property, got, m.tail())
		}
	}
	if _, still, err := mounts.At(m.Point); still || err != nil {
		t.Errorf("%s is stopped and %s is mounted (%v)", m.service, m.Point, err)
	}
	if err := syscall.Kill(m.PID, 0); err != syscall.ESRCH {
		t.Errorf("%s is stopped, and its process %d is there (%v)", m.service, m.PID, err)
	}
	if _, err := os.Lstat(m.socket); !os.IsNotExist(err) {
		t.Errorf("%s is stopped, and %s is there (%v)", m.service, m.socket, err)
	}
}
