package supervise

import "testing"

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
