package gate

import "time"

// Stats is what a Gate has counted since it was made, and how it stands.
type Stats struct {
	Calls     uint64 // requests, the retries included
	Retries   uint64
	Waits     uint64 // attempts that could not begin at once
	Throttled uint64 // attempts that the service throttled
	Lost      uint64 // attempts that got no answer
	Crowded   uint64 // loads refused because too many of their uid waited
	Cooled    uint64 // loads answered with the recent failure of their ciphertext

	Waiting  int     // loads in line now
	InFlight int     // calls now
	QPS      float64 // the rate now; 0: no limit

	Breaker BreakerState
	Since   time.Time // when it last opened or closed; zero: never
	Opened  uint64    // how often it did
	Refused uint64    // attempts refused while it was open
}

// Stats is for the program to publish.
func (g *Gate) Stats() Stats {
	now := time.Now()
	s := Stats{
		Calls:     g.calls.Load(),
		Retries:   g.retries.Load(),
		Throttled: g.throttled.Load(),
		Lost:      g.lost.Load(),
		Crowded:   g.crowded.Load(),
	}
	q := g.queue
	q.mu.Lock()
	s.Waits, s.Waiting, s.QPS = q.waits, q.count, q.pace.rate(now)
	for _, l := range q.lines {
		s.InFlight += l.held
	}
	q.mu.Unlock()

	g.breaker.mu.Lock()
	s.Breaker, s.Since = g.breaker.state(now)
	s.Opened, s.Refused = g.breaker.epoch, g.breaker.refused
	g.breaker.mu.Unlock()

	g.cooldown.mu.Lock()
	s.Cooled = g.cooldown.hits
	g.cooldown.mu.Unlock()
	return s
}
