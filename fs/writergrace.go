package fs

import (
	"context"
	"time"
)

// writerGraceFor is how long a request waits for a file that is being
// rewritten in place and is no whole ciphertext yet.
const writerGraceFor = 250 * time.Millisecond

// writerGrace is one request's patience with a writer.
type writerGrace struct {
	ctx   context.Context
	begun time.Time
}

// more waits a little before another look. It reports false when the file has
// been left alone for writerGraceFor, or the request has waited that long, or
// its caller gave up: then what was read counts.
func (g writerGrace) more(ctime int64) bool {
	if time.Since(g.begun) >= writerGraceFor || time.Now().UnixNano()-ctime >= int64(writerGraceFor) {
		return false
	}
	t := time.NewTimer(time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-g.ctx.Done():
		return false
	}
}
