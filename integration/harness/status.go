package harness

import (
	"encoding/json"
	"os/user"
	"strconv"
	"strings"
	"testing"

	mounts "github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// Status is what the tests look at of kmsfs status --json.
type Status struct {
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

// StatusOf is what kmsfs status says of a mount.
func StatusOf(t testing.TB, l *lab.Lab, point string) (s Status) {
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

// SocketOf is where the control socket of a mount is.
func SocketOf(t testing.TB, point string) string {
	t.Helper()
	m, ok, err := mounts.At(point)
	if err != nil || !ok {
		t.Fatalf("no mount at %s (%v)", point, err)
	}
	dir, _ := ControlDir(t)
	return dir + "/" + strings.ReplaceAll(m.Device, ":", "-") + ".sock"
}

// ControlDir is where the sockets of root's mounts are, or of the service's, and
// whose it is.
func ControlDir(t testing.TB) (dir string, owner uint32) {
	t.Helper()
	if !*AsService {
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
