package supervise

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestWatchdogPeriod(t *testing.T) {
	for _, c := range []struct {
		µs, pid string
		want    string
	}{{"", "", "0s"}, {"30000000", "", "30s"}, {"30000000", "1", "0s"}, {"-5", "", "0s"}, {"x", "", "0s"}} {
		env := map[string]string{"WATCHDOG_USEC": c.µs, "WATCHDOG_PID": c.pid}
		if got := watchdogPeriod(func(k string) string { return env[k] }); got.String() != c.want {
			t.Errorf("%q for %q: %v", c.µs, c.pid, got)
		}
	}
}

// systemd hears of a mount that answers, and nothing of one that does not.
func TestWatchdogIsFed(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", address)
	getenv := func(name string) string { return map[string]string{"WATCHDOG_USEC": "30000"}[name] }
	feed := func(point string) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			FeedWatchdog(ctx, point, getenv, func() string { return "fine" })
		}()
		return func() { cancel(); <-ended }
	}
	text := make([]byte, 100)
	stop := feed("/")
	for range 3 {
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := conn.Read(text); err != nil || string(text[:n]) != "WATCHDOG=1\nSTATUS=fine" {
			t.Fatalf("%q, %v", text[:n], err)
		}
	}
	stop()
	for conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); ; {
		if _, err := conn.Read(text); err != nil {
			break // nothing more of this one
		}
	}
	stop = feed("/nowhere")
	conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := conn.Read(text); err == nil {
		t.Errorf("it hears %q", text[:n])
	}
	stop()
	FeedWatchdog(t.Context(), "/", func(string) string { return "" }, nil) // nobody wants to hear
}
