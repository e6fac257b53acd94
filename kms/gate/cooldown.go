package gate

import (
	"sync"
	"time"
)

const (
	// cooldownTime is how long a ciphertext that the service failed on,
	// attempt after attempt, is not tried again.
	cooldownTime = time.Second
	// cooldownMax bounds how many are known. Beyond it the oldest is
	// forgotten, and costs its attempts again.
	cooldownMax = 256
)

// content stands for a ciphertext: a hash of its text under a seed of this
// process, so nobody can make two that are one.
type content uint64

// cooldown remembers the ciphertexts that the service is answering with errors
// of its own, so that nobody who opens such a file in a loop spends the tokens
// and slots of its neighbours. Throttling and silence are not remembered: they
// say nothing about a ciphertext.
//
// INVARIANT: ring is in the order of time; the entries that count are the
// newest ones.
type cooldown struct {
	mu   sync.Mutex // guards everything below; a leaf
	ring [cooldownMax]struct {
		content content
		err     error
		until   time.Time
	}
	last int // index of the newest
	hits uint64
}

// recall is the error that a load of c just ended with, or nil.
func (k *cooldown) recall(c content, now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range cooldownMax {
		e := &k.ring[(k.last-i+cooldownMax)%cooldownMax]
		if !now.Before(e.until) {
			return nil // and all that follow are older
		}
		if e.content == c {
			k.hits++
			return e.err
		}
	}
	return nil
}

func (k *cooldown) remember(c content, err error, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = (k.last + 1) % cooldownMax
	e := &k.ring[k.last]
	e.content, e.err, e.until = c, err, now.Add(cooldownTime)
}
