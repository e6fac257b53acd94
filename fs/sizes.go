package fs

import (
	"context"
	"sync"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/kms"
)

// unknownSize is that of a secret that was never decrypted, where its size
// does not follow from the ciphertext. No such node is given to the kernel.
const unknownSize = kms.UnknownSize

// sizes remembers what only an answer of the service tells of a ciphertext:
// how long its secret is, and which key version it belongs to. Neither is a
// secret, so both outlive the plaintext: a stat must not cost a call each time.
type sizes struct {
	mu sync.Mutex
	of map[cache.Key]learned
	// versions are the ids that answers have named of blobs in an unknown
	// layout which have the current one under that id. Their size is
	// arithmetic from then on.
	versions map[string]struct{}
	// measuring holds a place for each load that only a size is wanted of.
	measuring chan struct{}
}

type learned struct {
	size    int64
	version string
}

const (
	// maxSizes and maxVersions bound the tables. A full one is emptied: what
	// is asked for again is learned again.
	maxSizes    = 100_000
	maxVersions = 256
	// maxMeasuring is how many calls at a time are made for sizes alone: an
	// open waits behind no more of them, however many files are listed.
	maxMeasuring = 4
)

func newSizes() *sizes {
	return &sizes{of: map[cache.Key]learned{}, versions: map[string]struct{}{}, measuring: make(chan struct{}, maxMeasuring)}
}

func (s *sizes) get(k cache.Key) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.of[k]; ok {
		return l.size
	}
	return unknownSize
}

func (s *sizes) version(k cache.Key) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[k].version
}

func (s *sizes) learn(k cache.Key, size int, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.of) >= maxSizes {
		clear(s.of)
	}
	s.of[k] = learned{int64(size), version}
}

// learnVersion remembers the version of a blob in an unknown layout, if that
// explains the length of its plaintext.
func (s *sizes) learnVersion(blob kms.Blob, version string, plaintext int) {
	if known, ok := blob.Under(version); !ok || known.PlaintextSize != plaintext {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.versions) >= maxVersions {
		clear(s.versions)
	}
	s.versions[version] = struct{}{}
}

// resolve is a blob in the layout that it has under a version that is known.
func (s *sizes) resolve(blob kms.Blob) kms.Blob {
	if blob.Layout != kms.LayoutUnknown {
		return blob
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for version := range s.versions {
		if known, ok := blob.Under(version); ok {
			return known
		}
	}
	return blob
}

// measure decrypts a file once to learn its size, when one of the few places
// for that is free. Other requests for the file wait for the same load.
func (f *FS) measure(ctx context.Context, n *node, c content) error {
	h, err := f.handleFor(n.rel, c.blob)
	if err != nil {
		return err
	}
	lease, err := f.leaseAfter(ctx, h, func(ctx context.Context) (func(), error) {
		select {
		case f.sizes.measuring <- struct{}{}:
			return func() { <-f.sizes.measuring }, nil
		case <-ctx.Done():
			return nil, &kms.Error{Class: kms.ErrTransient, Action: "Decrypt", Detail: "too many sizes are being learned", Cause: ctx.Err()}
		}
	})
	if err != nil {
		return err
	}
	n.size = int64(len(lease.Bytes()))
	lease.Release()
	return nil
}
