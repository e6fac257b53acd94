package audit

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

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
	Hint      string // what to do about it, if that has a name
}

// failures remembers the last failed load of each class. Everybody who waits
// for a load shares its error, which is counted once.
type failures struct {
	mu sync.Mutex
	of map[string]Failure
}

// Failed remembers the error of a load. The path is that of the file as the
// mount shows it.
func (l *Log) Failed(path string, err error) {
	f := Failure{Class: cmp.Or(kms.ClassName(err), "other"), At: time.Now(),
		Path: Printable(path), Text: Printable(err.Error())}
	if e, ok := errors.AsType[*kms.Error](err); ok {
		f.RequestID, f.Hint = Printable(e.RequestID), e.Hint
	}
	t := &l.failures
	t.mu.Lock()
	defer t.mu.Unlock()
	f.Count = t.of[f.Class].Count + 1
	t.of[f.Class] = f
}

// Failures returns what failed so far, the latest first.
func (l *Log) Failures() []Failure {
	l.failures.mu.Lock()
	defer l.failures.mu.Unlock()
	all := make([]Failure, 0, len(l.failures.of))
	for _, one := range l.failures.of {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Failure) int { return b.At.Compare(a.At) })
	return all
}
