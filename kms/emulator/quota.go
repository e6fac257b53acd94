package emulator

import (
	"sync"
	"time"
)

// quota bounds the cryptographic calls of the account, all actions and callers
// together, as the service does (documented: one figure for Encrypt, Decrypt,
// GenerateDataKey and their like, and 429 Rejected.Throttling above it). That
// it works as a bucket of one second's calls is a choice of this package. Its
// zero value has no bound.
type quota struct {
	perSecond int

	mu     sync.Mutex
	left   float64
	filled time.Time // when left was true
}

// take reports whether one more call is within the bound.
func (q *quota) take(now time.Time) bool {
	if q.perSecond == 0 {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	full := float64(q.perSecond)
	if q.filled.IsZero() {
		q.left, q.filled = full, now
	}
	// Callers read their clock before they get the lock.
	if d := now.Sub(q.filled); d > 0 {
		q.left, q.filled = min(full, q.left+d.Seconds()*full), now
	}
	if q.left < 1 {
		return false
	}
	q.left--
	return true
}
