package fs

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/kms"
)

// dropped is a kernel that notes which inode's pages are dropped.
type dropped chan uint64

func (dropped) EntryNotify(uint64, string) error { return nil }

func (d dropped) InodeNotify(ino uint64, _, _ int64) error {
	d <- ino
	return nil
}

// A refusal between a READ's lease and the date of its pages finds nothing to
// drop; the pages go at once all the same. The plaintext of another file stays.
func TestRefusalBeforePagesAreDatedDropsThem(t *testing.T) {
	for name, class := range map[string]error{"denied": kms.ErrDenied, "key state": kms.ErrKeyState, "bad": kms.ErrBadCiphertext} {
		t.Run(name, func(t *testing.T) {
			f := unmounted(t, t.TempDir())
			kernel := make(dropped, 9)
			f.pages.Start(kernel, nil)
			defer f.pages.Close()
			lease := func(k cache.Key, group string) *cache.Lease {
				l, err := f.cfg.Cache.Get(t.Context(), k, cache.LoaderFunc(func(context.Context) (cache.Loaded, error) {
					return cache.Loaded{Plaintext: []byte("x"), Group: group}, nil
				}))
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			lease(cache.Key{2}, "another version").Release()
			h := &handle{key: cache.Key{1}, kind: sealed{kms.Blob{KeyVersionID: "version"}}}
			l := lease(h.key, "version")
			asked := 0
			f.pages.DropWith(7, f.plaintextOf(h), func() time.Duration {
				left := l.Left()
				if asked++; asked == 1 {
					f.refused(h, &kms.Error{Class: class, Action: "Decrypt"})
				}
				return left
			})
			l.Release()
			select {
			case id := <-kernel:
				if id != 7 {
					t.Errorf("node %d", id)
				}
			case <-time.After(20 * time.Second):
				t.Error("the pages stay after the refusal")
			}
			if s := f.cfg.Cache.Stats(); s.Entries != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// meanwhile is a context that does something when it is first asked whether it
// has ended.
type meanwhile struct {
	context.Context
	do func()
}

func (m *meanwhile) Err() error {
	if m.do != nil {
		m.do()
		m.do = nil
	}
	return m.Context.Err()
}

// A file that the kernel learns of while its directory is flushed loses its
// pages, too: they may be of what was in the cache until then.
func TestFlushDropsPagesOfLateNodes(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "d/a.cipher"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := unmounted(t, dir)
	n, _, err := f.look("d/a.cipher")
	if err != nil {
		t.Fatal(err)
	}
	known, err := f.purge(&meanwhile{t.Context(), func() { f.nodes.adopt(n) }}, "d")
	if err != nil || !slices.Contains(known, n) {
		t.Errorf("%d nodes, %v", len(known), err)
	}
}
