package fs

import (
	"context"
	"sync"

	"github.com/kmsfs/kmsfs/cache"
)

// unknownSize is that of a secret that was never decrypted, where its size
// does not follow from the ciphertext. No such node is given to the kernel.
const unknownSize = -1

// sizes remembers how long secrets are, for an encoding that hides it. The
// length outlives the plaintext: it is no secret, and a stat must not cost a
// call each time.
type sizes struct {
	mu sync.Mutex
	of map[cache.Key]int64
}

// maxSizes bounds the table. It is emptied when it is full: what is asked for
// again is learned again.
const maxSizes = 100_000

func (s *sizes) get(k cache.Key) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.of[k]; ok {
		return n
	}
	return unknownSize
}

func (s *sizes) learn(k cache.Key, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.of) >= maxSizes {
		clear(s.of)
	}
	s.of[k] = int64(n)
}

// measure decrypts a file once to learn its size.
func (f *FS) measure(ctx context.Context, n *node, c content) error {
	h, err := f.handleFor(n.rel, c.blob)
	if err != nil {
		return err
	}
	lease, err := f.lease(ctx, h)
	if err != nil {
		return err
	}
	n.size = int64(len(lease.Bytes()))
	lease.Release()
	return nil
}
