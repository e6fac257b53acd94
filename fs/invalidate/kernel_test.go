package invalidate

import (
	"sync"
	"testing"
	"time"
)

// kernel notes what it is told.
type kernel struct {
	mu     sync.Mutex
	inodes []inode
	names  []name
}

type inode struct {
	id          uint64
	off, length int64
}

type name struct {
	dir  uint64
	name string
}

func (k *kernel) InodeNotify(id uint64, off, length int64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.inodes = append(k.inodes, inode{id, off, length})
	return nil
}

func (k *kernel) EntryNotify(dir uint64, s string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.names = append(k.names, name{dir, s})
	return nil
}

// told returns the inodes that were told since it was last asked.
func (k *kernel) told() []inode {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := k.inodes
	k.inodes = nil
	return all
}

// heard tells whether a name was pushed, and forgets all that were.
func (k *kernel) heard(n name) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, one := range k.names {
		if one == n {
			k.names = nil
			return true
		}
	}
	return false
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for begun := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("never: %s", what)
		}
	}
}
