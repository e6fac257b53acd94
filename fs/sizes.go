package fs

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/fs/audit"
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
	// versions are the ids that answers have named of ciphertexts that nobody knew,
	// and which are known under that id. Their size is arithmetic from then on.
	versions map[string]struct{}
}

// learned has a size, or why there is none: the service refused to open it at
// that moment.
type learned struct {
	size    int64
	version string
	refused time.Time
}

const (
	// maxSizes and maxVersions bound the tables. Of a full one something is
	// forgotten: what is asked for again is learned again.
	maxSizes    = 100_000
	maxVersions = 256
	// longestVersion bounds the versions, in bytes.
	longestVersion = 64
	// refusedFor is how long nobody asks for the size of what the service has
	// refused to open. An open asks.
	refusedFor = time.Minute
)

func newSizes() *sizes {
	return &sizes{of: map[cache.Key]learned{}, versions: map[string]struct{}{}}
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
	if l, ok := s.of[k]; ok && l.refused.IsZero() {
		return l.size
	}
	return unknownSize
}

// refuse notes that the service does not open a ciphertext.
func (s *sizes) refuse(k cache.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	forgetSome(s.of, maxSizes)
	s.of[k] = learned{version: s.of[k].version, refused: time.Now()}
}

// askable says whether it makes sense to ask for a size.
func (s *sizes) askable(k cache.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.of[k]
	return !ok || !l.refused.IsZero() && time.Since(l.refused) >= refusedFor
}

// retry forgets what was refused.
func (s *sizes) retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, l := range s.of {
		if !l.refused.IsZero() {
			delete(s.of, k)
		}
	}
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
	s.of[k] = learned{size: int64(size), version: version}
}

// learnVersion remembers the version of a ciphertext that nobody knew, if that
// explains the length of its secret.
func (s *sizes) learnVersion(kind kms.Ciphertext, encoding kms.Encoding, version string, secret int) {
	if kind.Size(encoding) != unknownSize || len(version) > longestVersion {
		return
	}
	if kind.Under(func(v string) bool { return v == version }).Size(encoding) != secret {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	forgetSome(s.versions, maxVersions)
	s.versions[version] = struct{}{}
}

// resolve is a ciphertext as it is under a version that is known.
func (s *sizes) resolve(kind kms.Ciphertext) kms.Ciphertext {
	if kind.Size(kms.Raw) != unknownSize {
		return kind
	}
	return kind.Under(s.knows)
}

func (s *sizes) knows(version string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.versions[version]
	return ok
}

// measure decrypts a file once to learn its size. In the gate it stands in its
// user's line, so nobody else waits for an ls -l.
func (f *FS) measure(ctx context.Context, h *handle) (size int64, err error) {
	if size := f.sizes.get(h.key); size != unknownSize {
		return size, nil
	}
	lease, err := f.lease(ctx, h)
	if err != nil {
		if !errors.Is(err, kms.ErrTransient) && ctx.Err() == nil {
			f.sizes.refuse(h.key)
		}
		return unknownSize, err
	}
	defer lease.Release()
	return int64(len(lease.Bytes())), nil
}

// sizeOf is the st_size of a node's version for a stat. Where nobody can tell it,
// that is the size of the ciphertext, as for what is none: a listing shows that
// something is there, and an open says why it cannot be read. known is false
// then. With ask it may cost a call, the first time.
func (f *FS) sizeOf(ctx context.Context, n *node, ask bool) (size int64, known bool) {
	if n.size != unknownSize {
		return n.size, true
	}
	h, status := f.handleOf(n, new(audit.Open))
	if !status.Ok() {
		return n.tuple.Size, false // replaced since
	}
	size = f.sizes.get(h.key)
	if size == unknownSize {
		size = int64(f.sizes.resolve(h.kind).Size(f.cfg.Encoding)) // by a version that is known since
	}
	if size == unknownSize && ask && f.sizes.askable(h.key) {
		size, _ = f.measure(ctx, h) // the failure is in the log's statistics; an open has its line
	}
	if size == unknownSize {
		return n.tuple.Size, false
	}
	return f.mode.shownSize(size), true
}

// learnSize gives a node that nobody has yet the size of its plaintext.
func (f *FS) learnSize(ctx context.Context, n *node, c content) error {
	h, err := f.handleFor(n.rel, c)
	if err != nil {
		return err
	}
	size, err := f.measure(ctx, h)
	if err == nil {
		n.size = f.mode.shownSize(size)
	}
	return err
}
