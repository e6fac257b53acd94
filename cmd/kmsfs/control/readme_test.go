package control

import (
	"os"
	"strings"
	"testing"
	"time"
)

// The README's status is what the program prints.
func TestReadmeStatus(t *testing.T) {
	b, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "<!-- status -->\n```\n")
	want, _, end := strings.Cut(rest, "```\n")
	if !ok || !end {
		t.Fatal("the README has no status")
	}
	now := time.Now()
	s := Status{
		Source: "/etc/nginx/certs", Mountpoint: "/run/certs", Open: "checked", PID: 4711, Version: "v1.0.0",
		UptimeSeconds: (3*time.Hour + 20*time.Minute + 9*time.Second).Seconds(), TTLSeconds: 60,
		Cache: CacheStatus{Entries: 12, Bytes: 36 << 10, MaxBytes: 64 << 20, Hits: 180, Misses: 14, Loads: 14, LoadErrors: 1},
		KMS:   KMSStatus{Calls: 14, Breaker: "closed"}, Refusals: 1,
		Errors: []ErrorStatus{{Class: "denied", Count: 1, Last: now.Add(-12 * time.Second), Path: "key.pem",
			Text: "Decrypt: access denied by the key service (Forbidden.NoPermission, RequestId 3b0c…)"}},
		Warnings: []string{"keys= is not given: whatever our identity can decrypt is served, whichever key encrypted it"},
	}
	var got strings.Builder
	if err := s.Print(&got, now); err != nil {
		t.Fatal(err)
	}
	if got.String() != want {
		t.Errorf("README:\n%s\nprogram:\n%s", want, got.String())
	}
}
