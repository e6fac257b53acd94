package gate

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

const (
	// paceHold is how long the rate stays where a throttled call put it.
	// The calls that were in flight beside it tell nothing new.
	paceHold = time.Second
	// paceGrowth is what the rate regains in a second, as a part of the
	// full rate.
	paceGrowth = 0.1
	// paceFloor is the lowest rate, as a part of the full rate.
	paceFloor = 0.1
)

// pace hands out the tokens of one mount: a bucket that is refilled more
// slowly for some seconds after the service has throttled a call. The rate is
// halved at each such answer, at most once per paceHold, and grows back
// evenly. So all mounts of an account find a rate that the service bears.
//
// queue.mu guards it.
//
// INVARIANT: in any time t it hands out at most full·t + burst tokens more
// than it is given back.
type pace struct {
	limiter *rate.Limiter
	full    rate.Limit
	changed time.Time // the rate grows from this moment on
}

func newPace(qps, burst int) pace {
	full := rate.Inf
	if qps > 0 {
		full = rate.Limit(qps)
	}
	if burst <= 0 {
		burst = max(qps, 1)
	}
	return pace{limiter: rate.NewLimiter(full, burst), full: full}
}

// take takes a token, or says how long it will be until there is one.
func (p *pace) take(now time.Time) time.Duration {
	p.grow(now)
	if p.limiter.AllowN(now, 1) {
		return 0
	}
	missing := 1 - p.limiter.TokensAt(now)
	seconds := missing / float64(p.limiter.Limit())
	return max(time.Duration(math.Ceil(seconds*float64(time.Second))), time.Microsecond)
}

// reserve takes a token even if there is none yet, and says how long it will be
// until there would have been one. take waits for that, too.
func (p *pace) reserve(now time.Time) time.Duration {
	p.grow(now)
	return p.limiter.ReserveN(now, 1).DelayFrom(now)
}

// giveBack returns a token that was not used. A negative number of events does
// that: it adds to the bucket, which never keeps more than its burst, also while
// there are tokens taken ahead of their time.
func (p *pace) giveBack(now time.Time) { p.limiter.ReserveN(now, -1) }

// throttled halves the rate, and empties the bucket.
func (p *pace) throttled(now time.Time) {
	if p.full == rate.Inf || now.Before(p.changed) {
		return
	}
	p.grow(now)
	lowest := max(p.full*paceFloor, min(p.full, 1))
	p.limiter.SetLimitAt(now, max(p.limiter.Limit()/2, lowest))
	if n := int(p.limiter.TokensAt(now)); n > 0 {
		p.limiter.AllowN(now, n)
	}
	p.changed = now.Add(paceHold)
}

func (p *pace) grow(now time.Time) {
	at := p.limiter.Limit()
	if at >= p.full || !now.After(p.changed) {
		return
	}
	gained := p.full * paceGrowth * rate.Limit(now.Sub(p.changed).Seconds())
	p.limiter.SetLimitAt(now, min(p.full, at+gained))
	p.changed = now
}

// rate is the present number of tokens per second; 0 means no limit.
func (p *pace) rate(now time.Time) float64 {
	p.grow(now)
	if p.full == rate.Inf {
		return 0
	}
	return float64(p.limiter.Limit())
}
