package fs

import (
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/cache"
)

// staleEvery is how often the log says that stale plaintext is served. The
// records of opens say it of each one.
const staleEvery = 10 * time.Second

// outage keeps the log quiet while the key service is away for long.
type outage struct {
	mu     sync.Mutex
	said   time.Time
	unsaid int // stale answers since
}

// hide counts one stale answer. Unless it is time for a line, there is nothing
// more to do; else unsaid are those before it.
func (o *outage) hide(now time.Time) (unsaid int, hidden bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Sub(o.said) < staleEvery {
		o.unsaid++
		return 0, true
	}
	unsaid, o.said, o.unsaid = o.unsaid, now, 0
	return unsaid, false
}

func (f *FS) logStale(h *handle, lease *cache.Lease) {
	unsaid, hidden := f.outage.hide(time.Now())
	if hidden {
		return
	}
	why := "no answer yet"
	if err := lease.Trouble(); err != nil {
		why = err.Error()
	}
	f.cfg.Log.Warn("stale plaintext is served", "path", printable(h.rel), "left", milliseconds(lease.Left()), "unsaid", unsaid, "error", printable(why))
}
