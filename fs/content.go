package fs

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// content is what the bytes of a .cipher file are. The zero content is that of
// what has none.
type content struct {
	hash [sha256.Size]byte // of the bytes; zero when they are too many to read
	kind kms.Ciphertext
	// identity hashes what the kind says that it is: two files of one identity have
	// one secret.
	identity [sha256.Size]byte
	size     int // of the file, in bytes
}

// newContent hashes the identity. Lengths keep its parts from running into each
// other.
func newContent(hash [sha256.Size]byte, kind kms.Ciphertext, size int) content {
	c := content{hash: hash, kind: kind, size: size}
	h := sha256.New()
	name, text := kind.Identity()
	addPart(h, name)
	addPart(h, text)
	h.Sum(c.identity[:0])
	return c
}

// err is why nobody can open it, as the log says it.
func (c content) err() error {
	if c.kind != nil {
		if not := c.kind.Refusal(); not != nil {
			return not
		}
	}
	return nil
}

// contents tells what files hold, and remembers it.
//
// INVARIANT: nothing in it is secret: ciphertexts, and how long a secret is.
type contents struct {
	parsed *parsed // by the bytes
	sizes  *sizes  // what only answers told
}

func newContents(by kms.Recogniser) contents { return contents{newParsed(by), newSizes()} }

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
func (c content) weight() int { return 512 + c.size }

func newParsed(by kms.Recogniser) *parsed {
	p := &parsed{by: by}
	// No error: the size is positive, and the weight bounds it.
	p.known, _ = simplelru.NewLRU(parsedMax/content{}.weight(), func(_ [sha256.Size]byte, c content) { p.bytes -= c.weight() })
	return p
}

// tooLong is a file whose bytes are not read.
var tooLong = content{kind: &kms.NotCiphertext{Reason: fmt.Sprintf("longer than %d bytes", kms.MaxBlobFile)}}

// parse recognises what a file holds.
func (p *parsed) parse(file []byte) content {
	hash := sha256.Sum256(file)
	p.mu.Lock()
	c, ok := p.known.Get(hash)
	p.mu.Unlock()
	if ok {
		return c
	}
	c = newContent(hash, p.by.Recognise(file), len(file))
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

// notices are what an admin should know of a file although nothing fails, or
// beyond the failure: each is said once.
type notices struct {
	mu   sync.Mutex
	said map[string]struct{}
}

// maxNotices bounds the memory of what was said. Beyond it nothing is said any
// more: a user that can make so many files could fill the log.
const maxNotices = 256

// first tells whether something has not been said before.
func (t *notices) first(what string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.said[what]; ok || len(t.said) >= maxNotices {
		return false
	}
	if t.said == nil {
		t.said = map[string]struct{}{}
	}
	t.said[what] = struct{}{}
	return true
}

// notice warns of one file: in the log, and of the first one of its kind for as
// long as the mount lives.
func (f *FS) notice(rel string, note kms.Note) {
	warning := audit.Printable(strings.TrimSuffix(rel, source.Suffix)) + ": " + note.Text
	switch {
	case !f.notices.first(warning):
	case f.notices.first(note.Kind) && f.cfg.Warn != nil:
		f.cfg.Warn(warning + " (the log names other such files)")
	default:
		f.cfg.Log.Warn(warning)
	}
}
