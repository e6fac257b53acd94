package fs

import (
	"testing"
	"time"
)

func TestThreadIsToldFromOthersForASecond(t *testing.T) {
	retry := newStaleRetry(time.Second)
	if _, ok := retry.take(7); ok {
		t.Error("nobody was told")
	}
	retry.remember(7)
	if at, ok := retry.take(7); !ok || time.Since(at) > retry.life {
		t.Error("not remembered")
	}
	if _, ok := retry.take(7); ok {
		t.Error("remembered twice")
	}
	for tid := range uint32(5000) {
		retry.at[tid] = time.Now().Add(-2 * retry.life)
	}
	retry.remember(1)
	if len(retry.at) != 1 {
		t.Errorf("%d threads are remembered", len(retry.at))
	}
}

func TestLookupsAreRemembered(t *testing.T) {
	r := &lookups{}
	before := time.Now()
	r.keep(looked{&node{id: 1}, content{size: 1}, before.Add(time.Millisecond), false})
	if c, ok := r.since(1, before); !ok || c.size != 1 {
		t.Error("not kept")
	}
	if _, ok := r.since(1, before.Add(time.Millisecond)); ok {
		t.Error("kept from before the instant")
	}
	for id := range uint64(len(r.ring)) {
		r.keep(looked{node: &node{id: id + 100}, seen: before})
	}
	if _, ok := r.since(1, time.Time{}); ok {
		t.Error("kept for ever")
	}
}
