package emulator

import (
	"testing"
	"time"
)

func TestQuota(t *testing.T) {
	now := time.Now()
	taken := func(q *quota, at time.Time) int {
		n := 0
		for q.take(at) {
			if n++; n > 100 {
				break
			}
		}
		return n
	}
	q := &quota{perSecond: 5}
	for _, c := range []struct {
		at   time.Duration
		want int
	}{
		{0, 5}, {0, 0}, {199 * time.Millisecond, 0}, {201 * time.Millisecond, 1}, {990 * time.Millisecond, 3},
		{900 * time.Millisecond, 0}, {10 * time.Second, 5}, // no more than a second's calls, however long the rest
	} {
		if got := taken(q, now.Add(c.at)); got != c.want {
			t.Errorf("after %v: %d calls, want %d", c.at, got, c.want)
		}
	}
	if n := taken(&quota{}, now); n <= 100 {
		t.Errorf("without a bound: %d calls", n)
	}
}
