package fs

import (
	"strings"
	"sync"

	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// notices are what an admin should know of a file although nothing fails, or
// beyond the failure: each is said once.
type notices struct {
	mu   sync.Mutex
	said map[string]struct{}
}

// maxNotices bounds the memory of what was said. Beyond it nothing is said any
// more: who can make so many files could fill the log.
const maxNotices = 256

// first tells whether something has not been said before.
func (t *notices) first(what string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.said[what]; ok || len(t.said) >= maxNotices {
		return false
	}
	if t.said == nil {
		t.said = map[string]struct{}{}
	}
	t.said[what] = struct{}{}
	return true
}

// notice warns of one file: in the log, and of the first one of its kind for as
// long as the mount lives.
func (f *FS) notice(rel string, note kms.Note) {
	warning := audit.Printable(strings.TrimSuffix(rel, source.Suffix)) + ": " + note.Text
	switch {
	case !f.notices.first(warning):
	case f.notices.first(note.Kind) && f.cfg.Warn != nil:
		f.cfg.Warn(warning + " (the log names other such files)")
	default:
		f.cfg.Log.Warn(warning)
	}
}
