package fs

import (
	"strings"
	"sync"

	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/source"
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

// notice warns of one file.
func (f *FS) notice(rel, text string) {
	warning := audit.Printable(strings.TrimSuffix(rel, source.Suffix)) + ": " + text
	if !f.notices.first(warning) {
		return
	}
	if f.cfg.Warn != nil {
		f.cfg.Warn(warning)
		return
	}
	f.cfg.Log.Warn(warning)
}
