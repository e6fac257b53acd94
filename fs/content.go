package fs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

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

// parsed remembers what the last contents were: every open reads and hashes
// the same bytes again, and hashing is much quicker than parsing.
//
// INVARIANT: bytes is the weight of all that is remembered, at most parsedMax.
type parsed struct {
	by    kms.Recogniser
	mu    sync.Mutex
	known *simplelru.LRU[[sha256.Size]byte, content]
	bytes int
}

// parsedMax is some 1,400 private keys, in bytes.
const parsedMax = 4 << 20

// weight is about what a content takes, in bytes.
func (c content) weight() int { return 512 + len(c.blob.Text) + len(c.bad) }

func newParsed(by kms.Recogniser) *parsed {
	p := &parsed{by: by}
	// No error: the size is positive, and the weight bounds it.
	p.known, _ = simplelru.NewLRU(parsedMax/content{}.weight(), func(_ [sha256.Size]byte, c content) { p.bytes -= c.weight() })
	return p
}

// parse is parseContent with that memory.
func (p *parsed) parse(file []byte, tooLong bool) content {
	if tooLong {
		return parseContent(p.by, nil, true)
	}
	hash := sha256.Sum256(file)
	p.mu.Lock()
	c, ok := p.known.Get(hash)
	p.mu.Unlock()
	if ok {
		return c
	}
	c = parseContent(p.by, file, false)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.known.Contains(hash) {
		p.bytes += c.weight()
		p.known.Add(hash, c)
	}
	for p.bytes > parsedMax {
		p.known.RemoveOldest()
	}
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
