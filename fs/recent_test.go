package fs

import (
	"testing"
	"time"
)

func TestTold(t *testing.T) {
	told := &told{at: map[uint32]time.Time{}}
	if _, ok := told.take(7); ok {
		t.Error("nobody was told")
	}
	told.remember(7)
	if at, ok := told.take(7); !ok || time.Since(at) > toldFor {
		t.Error("not remembered")
	}
	if _, ok := told.take(7); ok {
		t.Error("remembered twice")
	}
	for tid := range uint32(5000) {
		told.at[tid] = time.Now().Add(-2 * toldFor)
	}
	told.remember(1)
	if len(told.at) != 1 {
		t.Errorf("%d threads are remembered", len(told.at))
	}
}

func TestRecent(t *testing.T) {
	r := &recent{}
	before := time.Now()
	r.keep(1, before.Add(time.Millisecond), content{size: 1})
	if c, ok := r.since(1, before); !ok || c.size != 1 {
		t.Error("not kept")
	}
	if _, ok := r.since(1, before.Add(time.Millisecond)); ok {
		t.Error("kept from before the instant")
	}
	for id := range uint64(len(r.ring)) {
		r.keep(id+100, before, content{})
	}
	if _, ok := r.since(1, time.Time{}); ok {
		t.Error("kept for ever")
	}
}
