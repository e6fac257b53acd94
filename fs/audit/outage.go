package audit

import (
	"sync"
	"time"
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

// Stale reports that plaintext is served past its ttl, for as long as is left
// of it. trouble is why it could not be loaded, nil: there is no answer yet.
func (l *Log) Stale(path string, left time.Duration, trouble error) {
	unsaid, hidden := l.outage.hide(time.Now())
	if hidden {
		return
	}
	why := "no answer yet"
	if trouble != nil {
		why = trouble.Error()
	}
	l.to.Warn("stale plaintext is served", "path", Printable(path), "left", milliseconds(left), "unsaid", unsaid, "error", Printable(why))
}
