package fs

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/fs/source"
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

// What fits is what go-fuse adds, to the byte.
func TestFittingIsWhatFits(t *testing.T) {
	for round := range 200 {
		entries := make([]source.Entry, 60)
		for i := range entries {
			entries[i] = source.Entry{Name: strings.Repeat("n", 1+rand.IntN(40)) + source.Suffix, Kind: source.ModeFile}
		}
		size := uint32(200 + rand.IntN(8000))
		out := fuse.NewDirEntryList(make([]byte, size), 0)
		added := 0
		for added < len(entries) && out.AddDirLookupEntry(fuse.DirEntry{Name: entries[added].ShownName(false), Mode: source.ModeFile, Off: uint64(added + 1)}) != nil {
			added++
		}
		if got := len(fitting(entries, size)); got != added {
			t.Fatalf("round %d, %d bytes: %d fit, %d were added", round, size, got, added)
		}
	}
}
