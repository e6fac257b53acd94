package harness

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

	mounts "github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// AsService is how TestServicePassesTheTestsOfAMount runs this program again: on a machine of
// its own, where it belongs to nobody but the tests.
var AsService = flag.Bool("service", false, "mounts are served by kmsfs@.service of this machine, whose units it starts and stops")

// services is how many units have been started.
var services atomic.Int64

// quoted is a value in an environment file.
func quoted(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(value) + `"`
}

// startService describes the mount as an administrator would, and starts a unit
// of its own for it: what systemd counts of one belongs to no other.
func (m *Mounted) startService(t testing.TB, l *lab.Lab, options ...string) {
	t.Helper()
	if l.Bin != BinDir {
		t.Fatal("a unit runs the program that is installed, under no other one")
	}
	name := fmt.Sprintf("t%d-%d", os.Getpid(), services.Add(1))
	m.service = "kmsfs@" + name + ".service"
	options = append([]string{"allow_emulator", "endpoint=" + l.Endpoint, "ca_file=" + l.CAFile, "region=" + lab.Region}, options...)
	id, secret := AccessKey(l)
	for path, content := range map[string]string{
		"/etc/kmsfs/" + name + ".env": "SRC=" + quoted(m.Source) + "\nMNT=" + quoted(m.Point) + "\nOPTIONS=" + quoted(strings.Join(options, ",")) + "\n",
		"/etc/credstore/kmsfs." + name: ConfigJSON(t, map[string]string{
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
	t.Cleanup(func() { m.Stop(t) })
	if _, err := Run("systemctl", "start", m.service); err != nil {
		journal, _ := Run("journalctl", "--no-pager", "--unit="+m.service)
		t.Fatalf("%v\n%s", err, journal)
	}
	main, err := strconv.Atoi(m.property(t, "MainPID"))
	if err != nil || main == 0 {
		t.Fatalf("%s has no process (%v)", m.service, err)
	}
	if m.PID = ChildOf(main); m.PID == 0 {
		t.Fatalf("%s has no server", m.service)
	}
	m.socket = SocketOf(t, m.Point)
	m.WaitLog(t, "msg=mounted")
}

// property is what systemd says of the unit.
func (m *Mounted) property(t testing.TB, name string) string {
	t.Helper()
	value, err := Run("systemctl", "show", "--value", "--property="+name, m.service)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// journal is what the unit has logged so far, in the lines that a log file would
// have: there the level is part of them.
func (m *Mounted) journal() string {
	if _, err := Run("journalctl", "--sync"); err != nil {
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

// stopService stops the unit, and fails the test if anything is left of it.
func (m *Mounted) stopService(t testing.TB) {
	listening, _ := os.Lstat(m.socket)
	if _, err := Run("systemctl", "stop", m.service); err != nil {
		t.Errorf("%v\nlog:\n%s", err, m.Tail())
	}
	for _, p := range []struct{ property, want string }{{"ActiveState", "inactive"}, {"Result", "success"}, {"NFileDescriptorStore", "0"}, {"NRestarts", "0"}} {
		if got := m.property(t, p.property); got != p.want {
			t.Errorf("%s has %s=%s\n%s", m.service, p.property, got, m.Tail())
		}
	}
	if _, still, err := mounts.At(m.Point); still || err != nil {
		t.Errorf("%s is stopped and %s is mounted (%v)", m.service, m.Point, err)
	}
	if err := syscall.Kill(m.PID, 0); err != syscall.ESRCH {
		t.Errorf("%s is stopped, and its process %d is there (%v)", m.service, m.PID, err)
	}
	if now, err := os.Lstat(m.socket); !os.IsNotExist(err) && (err != nil || os.SameFile(now, listening)) { // else it is another mount's by now
		t.Errorf("%s is stopped, and %s is there (%v)", m.service, m.socket, err)
	}
}

// ChildOf is the process that another one has started last; 0: there is none.
func ChildOf(pid int) (child int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for field := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(field); err == nil {
				child = max(child, n)
			}
		}
	}
	return child
}
