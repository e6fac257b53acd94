package supervise

import "testing"

func TestGoesOn(t *testing.T) {
	for _, c := range []struct {
		job, result string
		want        bool
	}{
		{"", "signal", true},
		{"", "watchdog", true},
		{"", "success", false},
		{"restart", "success", true},
		{"try-restart", "success", true},
		{"start", "exit-code", true},
		{"stop", "success", false},
		{"stop", "signal", false},
	} {
		if got := GoesOn(c.job, c.result); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

func TestJobOf(t *testing.T) {
	jobs := "123 kmsfs@a.service restart running\n124 kmsfs@ab.service stop waiting\n"
	for unit, want := range map[string]string{"kmsfs@a.service": "restart", "kmsfs@ab.service": "stop", "kmsfs@b.service": "", "": ""} {
		if got := jobOf(unit, jobs); got != want {
			t.Errorf("%s: %q", unit, got)
		}
	}
}
