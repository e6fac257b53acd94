package fs

import (
	"context"
	"time"
)

// settleFor is how long a request waits for a file that is being rewritten in
// place and is no whole ciphertext yet.
const settleFor = 250 * time.Millisecond

// settling is one request's patience with a writer.
type settling struct {
	ctx   context.Context
	begun time.Time
}

// more waits a little before another look. It reports false when the file has
// been left alone for settleFor, or the request has waited that long, or its
// caller gave up: then what was read counts.
func (s settling) more(ctime int64) bool {
	if time.Since(s.begun) >= settleFor || time.Now().UnixNano()-ctime >= int64(settleFor) {
		return false
	}
	t := time.NewTimer(time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}
