package fs

import (
	"context"
	"testing"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/kms"
)

// Who asks for what another uid's load is bringing waits in a line of their own for
// it: root's open does not wait behind the flood that asked before.
func TestLoadGoesWithTheTurnOfEachCaller(t *testing.T) {
	flood := &loading{callers: kms.CallersOf(kms.WithCaller(t.Context(), 1000))}
	root := &loading{callers: kms.CallersOf(kms.WithCaller(t.Context(), 0))}
	var lines []uint32
	flood.callers.Stand(func(uids []uint32) kms.Waiter {
		lines = append(lines, uids...)
		return standing{&lines}
	})
	flood.Join(root)
	flood.Join(root)                                                                                         // once is enough
	flood.Join(&loading{})                                                                                   // nobody in particular
	(&loading{}).Join(root)                                                                                  // a load that is nobody's
	flood.Join(cache.LoaderFunc(func(context.Context) (cache.Loaded, error) { return cache.Loaded{}, nil })) // not ours
	if len(lines) != 2 || lines[0] != 1000 || lines[1] != 0 {
		t.Errorf("stands in the lines of %v", lines)
	}
}

type standing struct{ lines *[]uint32 }

func (s standing) AddCaller(uid uint32) { *s.lines = append(*s.lines, uid) }
