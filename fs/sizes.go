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
	by kms.Recogniser
	mu sync.Mutex
	of map[cache.Key]learned
	// versions are the ids that answers have named of blobs which nobody knew,
	// and which are known under that id. Their size is arithmetic from then on.
	versions map[string]struct{}
}

type learned struct {
	size    int64
	version string
}

const (
	// maxSizes and maxVersions bound the tables. Of a full one something is
	// forgotten: what is asked for again is learned again.
	maxSizes    = 100_000
	maxVersions = 256
	// longestVersion bounds the versions, in bytes.
	longestVersion = 64
)

func newSizes(by kms.Recogniser) *sizes {
	return &sizes{by: by, of: map[cache.Key]learned{}, versions: map[string]struct{}{}}
}

// forgetSome makes room in a full table.
func forgetSome[K comparable, V any](table map[K]V, most int) {
	for k := range table {
		if len(table) < most {
			return
		}
		delete(table, k)
	}
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
	forgetSome(s.of, maxSizes)
	s.of[k] = learned{int64(size), version}
}

// learnVersion remembers the version of a blob that nobody knew, if that
// explains the length of its plaintext.
func (s *sizes) learnVersion(blob kms.Blob, version string, plaintext int) {
	if known, ok := s.by.Under(blob, version); !ok || known.PlaintextSize != plaintext || len(version) > longestVersion {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	forgetSome(s.versions, maxVersions)
	s.versions[version] = struct{}{}
}

// resolve is a blob as it is under a version that is known.
func (s *sizes) resolve(blob kms.Blob) kms.Blob {
	if blob.PlaintextSize != kms.UnknownSize || blob.Text == "" {
		return blob
	}
	version := s.begins(blob.Head(longestVersion))
	known, _ := s.by.Under(blob, version)
	return known
}

// begins is the version that a blob's first bytes begin with, or empty.
func (s *sizes) begins(head string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := len(head); n > 0; n-- {
		if _, ok := s.versions[head[:n]]; ok {
			return head[:n]
		}
	}
	return ""
}

// measure decrypts a file once to learn its size. In the gate it stands in its
// user's line, so nobody else waits for an ls -l.
func (f *FS) measure(ctx context.Context, n *node, c content) error {
	h, err := f.handleFor(n.rel, c.blob)
	if err != nil {
		return err
	}
	lease, err := f.lease(ctx, h)
	if err != nil {
		return err
	}
	n.size = f.shownSize(int64(len(lease.Bytes())))
	lease.Release()
	return nil
}

// shownSize is the st_size of a plaintext. In open=fast an empty one has a byte:
// else the kernel serves nothing at all, and asks nobody whether that is right.
func (f *FS) shownSize(size int64) int64 {
	if f.cfg.Fast && size == 0 {
		return 1
	}
	return size
}
