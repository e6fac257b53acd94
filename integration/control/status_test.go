package control_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// The numbers are those of the reads that were made, and of the calls that
// the service saw.
func TestStatusCountsReadsAndCalls(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "ttl=5m,cache_size=1MiB")
	for i := range 3 {
		harness.Put(t, m.InSource(fmt.Sprint("f", i, ".cipher")), harness.Seal(t, l, fmt.Sprint("secret ", i)))
	}
	if err := l.ResetCalls(); err != nil {
		t.Fatal(err)
	}
	if s := harness.StatusOf(t, l, m.Point); s.Cache.Hits+s.Cache.Misses+s.Cache.Loads+s.KMS.Calls != 0 {
		t.Errorf("before any read: %+v", s)
	}
	for i := range 3 {
		for range 4 {
			harness.Read(t, m.Path(fmt.Sprint("f", i)))
		}
	}
	s := harness.StatusOf(t, l, m.Point)
	if s.Mountpoint != m.Point || s.Source != m.Source || s.PID != m.PID || s.Open != "checked" || s.TTLSeconds != 300 || s.UptimeSeconds <= 0 {
		t.Errorf("%+v", s)
	}
	if c := s.Cache; c.Entries != 3 || c.Loads != 3 || c.Misses != 3 || c.Hits < 9 || c.LoadErrors != 0 || c.Bytes < 3*8 || c.Bytes > 3*4096 || c.MaxBytes > 1<<20 {
		t.Errorf("cache: %+v", c)
	}
	if n := harness.Decrypts(t, l); s.KMS.Calls != n || n != 3 || s.KMS.Breaker != "closed" {
		t.Errorf("KMS: %+v, the emulator saw %d calls", s.KMS, n)
	}
	if len(s.Errors) != 0 || s.Refusals != 0 {
		t.Errorf("errors without an error: %+v", s.Errors)
	}
	if w := strings.Join(s.Warnings, "\n"); !strings.Contains(w, "keys= is not given") || !strings.Contains(w, "127.0.0.1") {
		t.Errorf("warnings in force: %q", s.Warnings)
	}
	for _, w := range s.Warnings {
		m.WaitLog(t, "level=WARN", strings.ReplaceAll(w, `"`, `\"`))
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
func TestStatusShowsErrorsAndNoSecret(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "timeout=2s")
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
		harness.Put(t, m.InSource(c.name+".cipher"), harness.Seal(t, l, "canary-"+c.class))
		id := fmt.Sprintf("request-of-%x", c.name)
		raw := fmt.Sprintf(`{"HttpStatus":%d,"Code":%q,"Message":"no","RequestId":%q}`, c.status, c.code, id)
		if err := l.Fault(map[string]any{"action": "Decrypt", "status": c.status, "raw": raw}); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(m.Path(c.name)); err == nil {
			t.Errorf("%q reads %q", c.name, b)
		}
		if err := l.ClearFaults(); err != nil {
			t.Fatal(err)
		}
		s := harness.StatusOf(t, l, m.Point)
		if len(s.Errors) == 0 {
			t.Fatalf("%q: no error in the status", c.name)
		}
		e := s.Errors[0] // the latest
		if e.RequestID != id || c.class != "" && (e.Class != c.class || e.Path != c.name || !strings.Contains(e.Text, c.code)) {
			t.Errorf("%q: %+v", c.name, e)
		}
	}
	s := harness.StatusOf(t, l, m.Point)
	seen := map[string]int{}
	for _, e := range s.Errors {
		seen[e.Class] = e.Count
	}
	if seen["denied"] != 2 || seen["key_state"] != 1 || seen["authentication"] != 1 || seen["transient"] != 1 || s.Refusals != 3 {
		t.Errorf("counts %v, %d refusals", seen, s.Refusals)
	}
	n := harness.Decrypts(t, l)
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
func TestStatusOfNoMountSaysSo(t *testing.T) {
	l := harness.NewLab(t)
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
func TestEachMountHasASocketOfItsOwn(t *testing.T) {
	l := harness.NewLab(t)
	a, b := harness.Mount(t, l, ""), harness.Mount(t, l, "")
	if sa, sb := harness.StatusOf(t, l, a.Point), harness.StatusOf(t, l, b.Point); sa.PID != a.PID || sb.PID != b.PID {
		t.Errorf("processes %d and %d, want %d and %d", sa.PID, sb.PID, a.PID, b.PID)
	}
	sockets := []string{harness.SocketOf(t, a.Point), harness.SocketOf(t, b.Point)}
	for _, s := range sockets {
		st, err := os.Lstat(s)
		if err != nil || st.Mode() != os.ModeSocket|0o600 {
			t.Errorf("%s: %v, %v; want a socket, 0600", s, st, err)
		}
	}
	dir, owner := harness.ControlDir(t)
	if st, err := os.Lstat(dir); err != nil || st.Mode() != os.ModeDir|0o700 || st.Sys().(*syscall.Stat_t).Uid != owner {
		t.Errorf("the directory: %v, %v", st, err)
	}
	a.Stop(t)
	b.Signal(t, syscall.SIGTERM)
	b.WaitEnd(t)
	for i, s := range sockets {
		if _, err := os.Lstat(s); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket of mount %d is left behind (%v)", i, err)
		}
	}
}

// A process that was killed leaves a dead mount and a dead socket. Status says
// so, and who takes the mount away takes the socket, too.
func TestDeadSocketGoesWithItsMount(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "")
	socket := harness.SocketOf(t, m.Point)
	m.Crash()
	out, err := l.Command("status", m.Point).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "has died\nhint: kmsfs umount") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Lstat(socket); err != nil {
		t.Error("asking removed the socket:", err)
	}
	m.Start(t, l) // over the dead one
	if s := harness.StatusOf(t, l, m.Point); s.PID != m.PID {
		t.Errorf("process %d, want %d", s.PID, m.PID)
	}
	if now := harness.SocketOf(t, m.Point); now != socket {
		if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the dead socket is left behind (%v)", err)
		}
	}

	socket = harness.SocketOf(t, m.Point)
	m.Crash()
	if out, err := l.Command("umount", m.Point).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("umount leaves the dead socket behind (%v)", err)
	}
}
