package control

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf16"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

// Status is what a running mount says of itself. The names are a promise to
// the programs that read them; counts are since the start.
type Status struct {
	Mountpoint     string        `json:"mountpoint"`
	Source         string        `json:"source"`
	PID            int           `json:"pid"`
	Version        string        `json:"version"`
	Started        time.Time     `json:"started"`
	UptimeSeconds  float64       `json:"uptime_seconds"`
	Open           string        `json:"open"`
	TTLSeconds     float64       `json:"ttl_seconds"`
	RefreshSeconds float64       `json:"refresh_seconds"`
	StaleSeconds   float64       `json:"stale_seconds"`
	TimeoutSeconds float64       `json:"timeout_seconds"`
	Cache          CacheStatus   `json:"cache"`
	KMS            KMSStatus     `json:"kms"`
	Refusals       uint64        `json:"refusals"` // denied and key_state
	Errors         []ErrorStatus `json:"errors"`   // one of each class, the latest first
	Warnings       []string      `json:"warnings"`
}

// CacheStatus is what is in memory.
type CacheStatus struct {
	Entries     int    `json:"entries"`
	Stale       int    `json:"stale"` // of these
	Loading     int    `json:"loading"`
	Bytes       int    `json:"bytes"`
	MaxBytes    int    `json:"max_bytes"`
	Hits        uint64 `json:"hits"`
	Misses      uint64 `json:"misses"`
	Loads       uint64 `json:"loads"`
	LoadErrors  uint64 `json:"load_errors"`
	Refreshes   uint64 `json:"refreshes"`
	StaleServed uint64 `json:"stale_served"`
	Remembered  uint64 `json:"remembered"`
	Evicted     uint64 `json:"evicted"`
	Expired     uint64 `json:"expired"`
	Purged      uint64 `json:"purged"`
	Wiped       uint64 `json:"wiped"`
}

// KMSStatus is what was asked of the service.
type KMSStatus struct {
	Calls          uint64    `json:"calls"`
	Retries        uint64    `json:"retries"`
	Throttled      uint64    `json:"throttled"`
	Unanswered     uint64    `json:"unanswered"`
	Cooled         uint64    `json:"cooled"`
	Crowded        uint64    `json:"crowded"`
	Waiting        int       `json:"waiting"`
	InFlight       int       `json:"in_flight"`
	QPS            float64   `json:"qps"`
	Breaker        string    `json:"breaker"`
	BreakerSince   time.Time `json:"breaker_since,omitzero"`
	BreakerOpened  uint64    `json:"breaker_opened"`
	BreakerRefused uint64    `json:"breaker_refused"`
}

// ErrorStatus is the last error of a class.
type ErrorStatus struct {
	Class     string    `json:"class"`
	Count     uint64    `json:"count"`
	Last      time.Time `json:"last"`
	Path      string    `json:"path"`
	RequestID string    `json:"request_id,omitempty"`
	Text      string    `json:"text"`
	Hint      string    `json:"hint,omitempty"`
}

// Print shows a status to people.
func (s *Status) Print(w io.Writer, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, a ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, ui.OneLine(fmt.Sprintf(format, a...)))
	}
	c, k := s.Cache, s.KMS
	line("mount", "%s on %s, open=%s", s.Source, s.Mountpoint, s.Open)
	line("process", "%d, version %s, up %v", s.PID, s.Version, span(s.UptimeSeconds))
	line("cache", "%d files, %s of %s, ttl %v, stale %v",
		c.Entries, bytesOf(c.Bytes), bytesOf(c.MaxBytes), span(s.TTLSeconds), span(s.StaleSeconds))
	line("reads", "%d hits, %d misses, %d served stale", c.Hits, c.Misses, c.StaleServed)
	line("loads", "%d, %d ahead of expiry, %d failed, %d refused", c.Loads, c.Refreshes, c.LoadErrors, s.Refusals)
	line("KMS calls", "%d, %d repeated, %d throttled, %d unanswered", k.Calls, k.Retries, k.Throttled, k.Unanswered)
	breaker := k.Breaker
	if !k.BreakerSince.IsZero() {
		breaker += fmt.Sprintf(" for %v", span(now.Sub(k.BreakerSince).Seconds()))
	}
	line("breaker", "%s, opened %d times", breaker, k.BreakerOpened)
	for _, e := range s.Errors {
		class := strings.ReplaceAll(ui.OneLine(e.Class), "_", " ")
		line("last "+class, "%v ago, %d in all: %s: %s", span(now.Sub(e.Last).Seconds()), e.Count, e.Path, e.Text)
		if e.Hint != "" {
			line("hint", "%s", e.Hint)
		}
	}
	for _, text := range s.Warnings {
		line("warning", "%s", text)
	}
	return t.Flush()
}

// span is a duration that nobody needs to the millisecond.
func span(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second)
}

func bytesOf(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// ASCIIJSON writes what is not ASCII as escapes: JSON allows characters that
// a terminal obeys.
func ASCIIJSON(b []byte) string {
	var s strings.Builder
	for _, r := range string(b) {
		switch {
		case r < 0x7f:
			s.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&s, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&s, `\u%04x`, r)
		}
	}
	return s.String()
}
