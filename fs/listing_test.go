package fs

import (
	"testing"
)

// One user's open directories are bounded, another's are not affected, and
// what is closed counts no more.
func TestOneUsersListingsAreBounded(t *testing.T) {
	d := &dirs{held: map[uint32]int{}}
	a, b, other := &dirHandle{uid: 1}, &dirHandle{uid: 1}, &dirHandle{uid: 2}
	if !d.hold(a, 0, maxHeld-10) || !d.hold(b, 0, 10) {
		t.Error("refused below the bound")
	}
	if d.hold(&dirHandle{uid: 1}, 0, 1) {
		t.Error("accepted above the bound")
	}
	if !d.hold(other, 0, 100) {
		t.Error("another user is refused")
	}
	if !d.hold(b, 10, 5) || !d.hold(b, 5, 0) || !d.hold(a, maxHeld-10, 0) || !d.hold(other, 100, 0) {
		t.Error("a smaller snapshot or none is refused")
	}
	if len(d.held) != 0 {
		t.Errorf("still counted: %v", d.held)
	}
}
