package audit

import (
	"testing"
	"time"
)

func TestOutageIsSaidNowAndThen(t *testing.T) {
	var o outage
	start := time.Now()
	for _, c := range []struct {
		at     time.Duration
		unsaid int
		hidden bool
	}{{0, 0, false}, {time.Second, 0, true}, {staleEvery - 1, 0, true}, {staleEvery, 2, false}, {staleEvery + 1, 0, true}, {time.Hour, 1, false}} {
		if unsaid, hidden := o.hide(start.Add(c.at)); unsaid != c.unsaid || hidden != c.hidden {
			t.Errorf("at %v: %d, %v", c.at, unsaid, hidden)
		}
	}
}
