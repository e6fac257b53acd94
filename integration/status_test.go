package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	mounts "github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// mountStatus is what the tests look at of kmsfs status --json.
type mountStatus struct {
	Mountpoint, Source, Open, Version string
	PID                               int
	UptimeSeconds                     float64 `json:"uptime_seconds"`
	TTLSeconds                        float64 `json:"ttl_seconds"`
	Cache                             struct {
		Entries, Stale, Bytes, Hits, Misses, Loads int
		Loading, Refreshes                         int
		StaleServed                                int `json:"stale_served"`
		MaxBytes                                   int `json:"max_bytes"`
		LoadErrors                                 int `json:"load_errors"`
	}
	KMS struct {
		Calls, Retries, Throttled, Unanswered int
		Breaker                               string
	}
	Refusals int
	Errors   []struct {
		Class, Path, Text string
		Count             int
		RequestID         string `json:"request_id"`
	}
	Warnings []string
}

func asked(t testing.TB, l *lab.Lab, point string) (s mountStatus) {
	t.Helper()
	out, err := l.Kmsfs(nil, "status", "--json", point)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return s
}

// socketOf is where the control socket of a mount is.
func socketOf(t testing.TB, point string) string {
	t.Helper()
	m, ok, err := mounts.At(point)
	if err != nil || !ok {
		t.Fatalf("no mount at %s (%v)", point, err)
	}
	dir, _ := controlDir(t)
	return dir + "/" + strings.ReplaceAll(m.Device, ":", "-") + ".sock"
}

// controlDir is where the sockets of root's mounts are, or of the service's, and
// whose it is.
func controlDir(t testing.TB) (dir string, owner uint32) {
	t.Helper()
	if !*asService {
		return "/run/kmsfs", 0
	}
	server, err := user.Lookup("kmsfs")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(server.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return "/run/kmsfs-server/kmsfs", uint32(uid)
}

// The numbers are those of the reads that were made, and of the calls that
// the service saw.
func TestStatusCounts(t *testing.T) {
	l := newLab(t)
	m := mount(t, l, "", "ttl=5m,cache_size=1MiB")
	for i := range 3 {
		put(t, m.source(fmt.Sprint("f", i, ".cipher")), seal(t, l, fmt.Sprint("secret ", i)))
	}
	if err := l.ResetCalls(); err != nil {
		t.Fatal(err)
	}
	if s := asked(t, l, m.Point); s.Cache.Hits+s.Cache.Misses+s.Cache.Loads+s.KMS.Calls != 0 {
		t.Errorf("before any read: %+v", s)
	}
	for i := range 3 {
		for range 4 {
			read(t, m.path(fmt.Sprint("f", i)))
		}
	}
	s := asked(t, l, m.Point)
	if s.Mountpoint != m.Point || s.Source != m.Source || s.PID != m.PID || s.Open != "checked" || s.TTLSeconds != 300 || s.UptimeSeconds <= 0 {
		t.Errorf("%+v", s)
	}
	if c := s.Cache; c.Entries != 3 || c.Loads != 3 || c.Misses != 3 || c.Hits < 9 || c.LoadErrors != 0 || c.Bytes < 3*8 || c.Bytes > 3*4096 || c.MaxBytes > 1<<20 {
		t.Errorf("cache: %+v", c)
	}
	if n := decrypts(t, l); s.KMS.Calls != n || n != 3 || s.KMS.Breaker != "closed" {
		t.Errorf("KMS: %+v, the emulator saw %d calls", s.KMS, n)
	}
	if len(s.Errors) != 0 || s.Refusals != 0 {
		t.Errorf("errors without an error: %+v", s.Errors)
	}
	if w := strings.Join(s.Warnings, "\n"); !strings.Contains(w, "keys= is not given") || !strings.Contains(w, "127.0.0.1") {
		t.Errorf("warnings in force: %q", s.Warnings)
	}
	for _, w := range s.Warnings {
		m.waitLog(t, "level=WARN", strings.ReplaceAll(w, `"`, `\"`))
	}

	out, err := l.Kmsfs(nil, "status", m.Point)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{m.Source + " on " + m.Point + ", open=checked", "3 files", "ttl 5m0s", "3 misses", "closed"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if n := strings.Count(out, "\n"); n > 20 {
		t.Errorf("%d lines:\n%s", n, out)
	}
}

// Every class of failure is there with the last RequestId that the service
// gave, and no secret and no raw name is.
func TestStatusErrors(t *testing.T) {
	l := newLab(t)
	m := mount(t, l, "", "timeout=2s")
	for _, c := range []struct {
		name   string
		status int
		code   string
		class  string
	}{
		{"denied", 403, "Forbidden.NoPermission", "denied"},
		{"again", 403, "Forbidden.NoPermission", "denied"},
		{"disabled", 409, "Rejected.Disabled", "key_state"},
		{"credentials", 404, "InvalidAccessKeyId.NotFound", "authentication"},
		{"failing", 500, "InternalFailure", "transient"},
		{"odd\x1b[31m\u202e\xff", 400, "UnsupportedOperation", ""},
	} {
		put(t, m.source(c.name+".cipher"), seal(t, l, "canary-"+c.class))
		id := fmt.Sprintf("request-of-%x", c.name)
		raw := fmt.Sprintf(`{"HttpStatus":%d,"Code":%q,"Message":"no","RequestId":%q}`, c.status, c.code, id)
		if err := l.Fault(map[string]any{"action": "Decrypt", "status": c.status, "raw": raw}); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(m.path(c.name)); err == nil {
			t.Errorf("%q reads %q", c.name, b)
		}
		if err := l.ClearFaults(); err != nil {
			t.Fatal(err)
		}
		s := asked(t, l, m.Point)
		if len(s.Errors) == 0 {
			t.Fatalf("%q: no error in the status", c.name)
		}
		e := s.Errors[0] // the latest
		if e.RequestID != id || c.class != "" && (e.Class != c.class || e.Path != c.name || !strings.Contains(e.Text, c.code)) {
			t.Errorf("%q: %+v", c.name, e)
		}
	}
	s := asked(t, l, m.Point)
	seen := map[string]int{}
	for _, e := range s.Errors {
		seen[e.Class] = e.Count
	}
	if seen["denied"] != 2 || seen["key_state"] != 1 || seen["authentication"] != 1 || seen["transient"] != 1 || s.Refusals != 3 {
		t.Errorf("counts %v, %d refusals", seen, s.Refusals)
	}
	n := decrypts(t, l)
	if s.KMS.Calls != n || s.Cache.LoadErrors < 6 {
		t.Errorf("%d calls, %d failed loads; the emulator saw %d calls", s.KMS.Calls, s.Cache.LoadErrors, n)
	}
	for _, args := range [][]string{{"status", m.Point}, {"status", "--json", m.Point}} {
		out, err := l.Kmsfs(nil, args...)
		if err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(out, func(r rune) bool { return r > 0x7e || r < 0x20 && r != '\n' && r != '\t' }); i >= 0 {
			t.Errorf("%v prints %q", args, out[i:min(len(out), i+20)])
		}
		if strings.Contains(out, "canary-") || !strings.Contains(out, "odd") {
			t.Errorf("%v:\n%s", args, out)
		}
	}
}

// What is no mount of ours is said to be none.
func TestStatusOfNoMount(t *testing.T) {
	l := newLab(t)
	for _, verb := range []string{"status", "flush"} {
		out, err := l.Command(verb, t.TempDir()).CombinedOutput()
		if err == nil || !regexp.MustCompile(`^kmsfs: `+verb+` ".*": kmsfs is not mounted there\nhint: `).Match(out) {
			t.Errorf("%s: %v\n%s", verb, err, out)
		}
		if out, err := l.Command(verb).CombinedOutput(); err == nil || !strings.Contains(string(out), "MNT is missing") {
			t.Errorf("%s: %v\n%s", verb, err, out)
		}
	}
}

// Two mounts have two sockets, each with its own answers, and an end leaves
// none, whichever it is.
func TestControlSocketOfEachMount(t *testing.T) {
	l := newLab(t)
	a, b := mount(t, l, ""), mount(t, l, "")
	if sa, sb := asked(t, l, a.Point), asked(t, l, b.Point); sa.PID != a.PID || sb.PID != b.PID {
		t.Errorf("processes %d and %d, want %d and %d", sa.PID, sb.PID, a.PID, b.PID)
	}
	sockets := []string{socketOf(t, a.Point), socketOf(t, b.Point)}
	for _, s := range sockets {
		st, err := os.Lstat(s)
		if err != nil || st.Mode() != os.ModeSocket|0o600 {
			t.Errorf("%s: %v, %v; want a socket, 0600", s, st, err)
		}
	}
	dir, owner := controlDir(t)
	if st, err := os.Lstat(dir); err != nil || st.Mode() != os.ModeDir|0o700 || st.Sys().(*syscall.Stat_t).Uid != owner {
		t.Errorf("the directory: %v, %v", st, err)
	}
	a.stop(t)
	b.signal(t, syscall.SIGTERM)
	b.ends(t)
	for i, s := range sockets {
		if _, err := os.Lstat(s); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket of mount %d is left behind (%v)", i, err)
		}
	}
}

// crash kills the process, and forgets its log.
func (m *mounted) crash() {
	m.cmd.Process.Kill()
	<-m.done
	m.cmd.Wait()
	m.log.Reset()
}

// A process that was killed leaves a dead mount and a dead socket. Status says
// so, and who takes the mount away takes the socket, too.
func TestControlSocketAfterCrash(t *testing.T) {
	l := newLab(t)
	m := mount(t, l, "")
	socket := socketOf(t, m.Point)
	m.crash()
	out, err := l.Command("status", m.Point).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "has died\nhint: kmsfs umount") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Lstat(socket); err != nil {
		t.Error("asking removed the socket:", err)
	}
	m.start(t, l) // over the dead one
	if s := asked(t, l, m.Point); s.PID != m.PID {
		t.Errorf("process %d, want %d", s.PID, m.PID)
	}
	if now := socketOf(t, m.Point); now != socket {
		if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the dead socket is left behind (%v)", err)
		}
	}

	socket = socketOf(t, m.Point)
	m.crash()
	if out, err := l.Command("umount", m.Point).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("umount leaves the dead socket behind (%v)", err)
	}
}
