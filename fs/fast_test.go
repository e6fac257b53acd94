package fs

import (
	"testing"

	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// The ciphertext of nodes is kept up to a bound, and what is forgotten makes
// room.
func TestKeptCiphertextIsBounded(t *testing.T) {
	table := newNodes(&node{id: rootID, kind: source.ModeDir})
	big := &handle{kind: sealed{kms.Blob{Text: string(make([]byte, keptMax/2))}}}
	var ids []uint64
	for i, want := range []bool{true, false, true} {
		n := &node{id: uint64(100 + i), kind: source.ModeFile, rel: "f"}
		n.kept.Store(big)
		if i == 2 {
			table.forget(ids[0], 1)
		}
		if got := table.adopt(n).kept.Load() != nil; got != want {
			t.Errorf("node %d is kept: %t", i, got)
		}
		ids = append(ids, n.id)
	}
	for _, id := range ids[1:] {
		table.forget(id, 1)
	}
	if table.kept != 0 {
		t.Errorf("%d bytes are counted for no node", table.kept)
	}
}
