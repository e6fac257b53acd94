package supervise

import "testing"

func TestServiceGoesOn(t *testing.T) {
	for _, c := range []struct {
		stored   int
		answered bool
		job      string
		result   string
		want     bool
	}{
		{3, true, "", "signal", true},
		{3, true, "", "watchdog", true},
		{3, true, "", "success", false},
		{3, true, "restart", "success", true},
		{3, true, "stop", "success", false},
		{3, true, "stop", "signal", false},
		{3, false, "", "signal", false},
		{3, false, "restart", "success", false},
		{1, true, "restart", "success", false},
		{2, true, "", "signal", false},
	} {
		s := service{c.stored, c.answered, c.job}
		if got := s.GoesOn(c.result); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
