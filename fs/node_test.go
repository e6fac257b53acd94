package fs

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"

	"github.com/kmsfs/kmsfs/fs/source"
)

// The id of a node is part of the hand-over between processes of different
// versions: the value for given facts never changes.
func TestNodeIDIsStable(t *testing.T) {
	tup := source.Tuple{Dev: 1, Ino: 2, Size: 3, Mtime: 4, Ctime: 5}
	if got := nodeID(source.ModeFile, "certs/key.pem.cipher", tup, sha256.Sum256([]byte("bytes"))); got != 0x742c91dfb05c4693 {
		t.Errorf("%#x", got)
	}
	if nodeID(source.ModeDir, "d", tup, [32]byte{}) != nodeID(source.ModeDir, "d", source.Tuple{}, [32]byte{1}) {
		t.Error("a directory's id depends on more than its path")
	}
}

// Every fact that makes another version makes another id.
func TestEachVersionHasItsNodeID(t *testing.T) {
	base := source.Tuple{Dev: 1, Ino: 2, Size: 3, Mtime: 4, Ctime: 5}
	ids := map[uint64]string{}
	add := func(name string, id uint64) {
		if other, ok := ids[id]; ok {
			t.Errorf("%s and %s have one id", name, other)
		}
		if id <= rootID || id>>63 != 0 {
			t.Errorf("%s: id %#x is reserved", name, id)
		}
		ids[id] = name
	}
	add("base", nodeID(source.ModeFile, "a", base, [32]byte{}))
	add("kind", nodeID(source.ModeLink, "a", base, [32]byte{}))
	add("path", nodeID(source.ModeFile, "b", base, [32]byte{}))
	add("hash", nodeID(source.ModeFile, "a", base, [32]byte{31: 1}))
	for i := range 5 {
		v := base
		if i < 2 {
			*[]*uint64{&v.Dev, &v.Ino}[i]++
		} else {
			*[]*int64{&v.Size, &v.Mtime, &v.Ctime}[i-2]++
		}
		add(fmt.Sprint("tuple field ", i), nodeID(source.ModeFile, "a", v, [32]byte{}))
	}
	for i := range 100_000 {
		add(fmt.Sprint("file ", i), nodeID(source.ModeFile, fmt.Sprint("f", i), base, [32]byte{}))
	}
}

func fileNode(rel string, mtime int64) *node {
	n := &node{rel: rel, kind: source.ModeFile, version: version{tuple: source.Tuple{Mtime: mtime}}}
	n.id = nodeID(n.kind, n.rel, n.tuple, n.hash)
	return n
}

func TestNodeLivesAsLongAsItIsReferredTo(t *testing.T) {
	table := newNodes(&node{id: rootID, kind: source.ModeDir})
	a := table.adopt(fileNode("a", 1))
	if again := table.adopt(fileNode("a", 1)); again != a || a.refs != 2 {
		t.Errorf("an equal node is another one (%d references)", a.refs)
	}
	newer := table.adopt(fileNode("a", 2))
	if table.current("a") != newer || table.get(a.id) != a {
		t.Error("a newer version replaces the older one in the wrong table")
	}
	table.forget(a.id, 1)
	if table.get(a.id) != a {
		t.Error("forgotten with a reference left")
	}
	table.forget(a.id, 5) // a successor may be told of more than it gave
	if table.get(a.id) != nil || table.current("a") != newer {
		t.Error("not forgotten, or the newer version is gone")
	}
	table.forget(newer.id, 1)
	table.forget(12345, 1)
	table.forget(rootID, 1000)
	if len(table.byID) != 1 || len(table.byPath) != 0 || table.get(rootID) == nil {
		t.Errorf("left: %d ids, %d paths", len(table.byID), len(table.byPath))
	}
	table.adopt(fileNode("b", 1))
	clash := fileNode("c", 1)
	clash.id = fileNode("b", 1).id
	if table.adopt(clash) != nil {
		t.Error("two files share one id")
	}
}

// The kernel looks up and forgets from many threads; no reference is lost.
func TestNoReferenceIsLostInRaces(t *testing.T) {
	table := newNodes(&node{id: rootID, kind: source.ModeDir})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5000 {
				n := table.adopt(fileNode("a", 1))
				if table.get(n.id) == nil {
					t.Error("a node with a reference is not in the table")
					return
				}
				table.forget(n.id, 1)
			}
		})
	}
	wg.Wait()
	if len(table.byID) != 1 {
		t.Errorf("%d nodes left", len(table.byID))
	}
}
