package fs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// Failure is how often loads failed for one kind of reason, and the last of
// them in words that are safe to print.
type Failure struct {
	Class     string // as kms.ClassName says, or "other"
	Count     uint64
	At        time.Time
	Path      string // the file that was to be read, as the mount shows it
	RequestID string // empty when the service gave none
	Text      string
}

// failures remembers the last failed load of each class. Everybody who waits
// for a load shares its error, which is counted once.
type failures struct {
	mu sync.Mutex
	of map[string]Failure
}

func (t *failures) note(rel string, err error) {
	f := Failure{Class: cmp.Or(kms.ClassName(err), "other"), At: time.Now(),
		Path: printable(strings.TrimSuffix(rel, source.Suffix)), Text: printable(err.Error())}
	if e, ok := errors.AsType[*kms.Error](err); ok {
		f.RequestID = printable(e.RequestID)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f.Count = t.of[f.Class].Count + 1
	t.of[f.Class] = f
}

// Failures returns what failed so far, the latest first.
func (f *FS) Failures() []Failure {
	f.failures.mu.Lock()
	defer f.failures.mu.Unlock()
	all := make([]Failure, 0, len(f.failures.of))
	for _, one := range f.failures.of {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Failure) int { return b.At.Compare(a.At) })
	return all
}

// noted remembers the error of a load. One that was called off, by a purge or
// at the end, has not failed.
func (f *FS) noted(ctx context.Context, rel string, err error) error {
	if err != nil && ctx.Err() != context.Canceled {
		f.failures.note(rel, err)
	}
	return err
}
