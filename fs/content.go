package fs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/kmsfs/kmsfs/kms"
)

// content is what the bytes of a .cipher file are.
//
// INVARIANT: bad is empty exactly when blob is a recognised ciphertext.
type content struct {
	hash [sha256.Size]byte // of the bytes; zero when they are too many to read
	blob kms.Blob
	bad  string // why it is no ciphertext, in words without its bytes
	// exposed: it is a secret that was never encrypted.
	exposed bool
}

// err is bad as the log says it; nil for a ciphertext.
func (c content) err() error {
	if c.bad == "" {
		return nil
	}
	return errors.New("not a ciphertext: " + c.bad)
}

// parsed remembers what the last contents were: an open reads the same bytes
// twice, and hashing is much quicker than parsing.
type parsed struct {
	by   kms.Recogniser
	mu   sync.Mutex
	next int
	ring [64]content
}

// parse is parseContent with that memory.
func (p *parsed) parse(file []byte, tooLong bool) content {
	if tooLong {
		return parseContent(p.by, nil, true)
	}
	hash := sha256.Sum256(file)
	p.mu.Lock()
	for i := range p.ring {
		if p.ring[i].hash == hash {
			defer p.mu.Unlock()
			return p.ring[i]
		}
	}
	p.mu.Unlock()
	c := parseContent(p.by, file, false)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ring[p.next] = c
	p.next = (p.next + 1) % len(p.ring)
	return c
}

// parseContent tells the kinds apart by the first bytes. tooLong is for a
// file whose bytes were not read.
func parseContent(by kms.Recogniser, file []byte, tooLong bool) content {
	if tooLong {
		return content{bad: fmt.Sprintf("longer than %d bytes", kms.MaxBlobFile)}
	}
	c := content{hash: sha256.Sum256(file)}
	blob, err := by.Recognise(file)
	if not, ok := errors.AsType[*kms.NotCiphertext](err); ok {
		c.bad, c.exposed = not.Reason, not.Exposed
	}
	c.blob = blob
	return c
}
