package fs

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// look makes a node of what is at a source path now. For a file shown as its
// plaintext the bytes are read, and content says what they are.
func (f *FS) look(rel string) (n *node, c content, err error) {
	for range 20 {
		var kind uint32
		if n, c, kind, err = f.lookOnce(rel); kind == 0 || !leadsElsewhere(err) {
			break // else something else has taken its place between two looks at it
		}
	}
	return n, c, err
}

// lookOnce also says which kind was there when nothing is by now; 0: nothing
// was.
func (f *FS) lookOnce(rel string) (*node, content, uint32, error) {
	st, err := f.source.Stat(rel)
	if err != nil {
		return nil, content{}, 0, err
	}
	kind := st.Mode & unix.S_IFMT
	switch kind {
	case source.ModeDir:
		return &node{id: nodeID(source.ModeDir, rel, source.Tuple{}, content{}.hash), rel: rel, kind: source.ModeDir}, content{}, kind, nil
	case source.ModeLink:
		n, err := f.lookLink(rel, &st)
		return n, content{}, kind, err
	case source.ModeFile:
		if !strings.HasSuffix(rel, source.Suffix) {
			return plainNode(rel, &st), content{}, kind, nil
		}
		n, c, err := f.lookRegular(rel)
		return n, c, kind, err
	}
	return nil, content{}, 0, unix.ENOENT // special files are not shown
}

// lookFile is look for what was a ciphertext file when it was last seen.
func (f *FS) lookFile(rel string) (*node, content, error) { return f.fileNode(rel, f.source.ReadFile) }

// lookRegular is lookFile for what was that a moment ago. Something else that
// is there by now is opened, without waiting for it, and refused.
func (f *FS) lookRegular(rel string) (*node, content, error) {
	return f.fileNode(rel, f.source.ReadRegular)
}

// ciphertexts are buffers of files while they are parsed.
var ciphertexts = sync.Pool{New: func() any { return new([kms.MaxBlobFile]byte) }}

func (f *FS) fileNode(rel string, read func(string, []byte) ([]byte, unix.Stat_t, error)) (*node, content, error) {
	room := ciphertexts.Get().(*[kms.MaxBlobFile]byte)
	defer ciphertexts.Put(room)
	b, st, err := read(rel, room[:])
	if err != nil {
		return nil, content{}, err
	}
	c := tooLong
	if st.Size <= kms.MaxBlobFile {
		c = f.parsed.parse(b)
		c.kind = f.sizes.resolve(c.kind)
	}
	n := &node{rel: rel, kind: source.ModeFile, version: version{source.TupleOf(&st), c.hash, int64(c.kind.Size(f.cfg.Encoding))}}
	if not := c.kind.Refusal(); not != nil {
		if not.Exposed {
			f.notice(rel, kms.Note{Kind: "exposed", Text: not.Reason})
		}
		// Nobody will read it, but ls should show that something is there.
		n.size = st.Size
	} else if f.mode.opensAtLookup() || n.size == unknownSize {
		if h, err := f.handleFor(rel, c); err == nil {
			n.kept.Store(h)
			if n.size == unknownSize {
				n.size = f.sizes.get(h.key)
			}
		}
	}
	n.size = f.mode.shownSize(n.size)
	n.id = nodeID(source.ModeFile, rel, n.tuple, n.hash)
	n.tupleTrusted.Store(n.tuple.IsTrusted())
	return n, c, nil
}

func (f *FS) lookLink(rel string, st *unix.Stat_t) (*node, error) {
	target, err := f.source.ReadLink(rel)
	if err != nil {
		return nil, err
	}
	shown := f.linkText(rel, target)
	// The text is a link's content: its change is another node.
	n := &node{rel: rel, kind: source.ModeLink, version: version{source.TupleOf(st), sha256.Sum256([]byte(target)), int64(len(shown))}}
	n.id = nodeID(source.ModeLink, rel, n.tuple, n.hash)
	n.tupleTrusted.Store(n.tuple.IsTrusted())
	return n, nil
}

// lookListed is look for a name in a listing, in fewer calls: a path whose tuple
// is that of a node and trusted needs no reading. OPEN never relies on it.
func (f *FS) lookListed(dir source.DirFD, parent, name string) (*node, error) {
	rel := source.Join(parent, name)
	st, err := dir.Stat(name)
	if err != nil {
		return nil, err
	}
	n := f.nodes.current(rel)
	switch {
	case n != nil && n.kind != source.ModeDir && n.kind == st.Mode&unix.S_IFMT && n.tupleTrusted.Load() && source.TupleOf(&st) == n.tuple:
	case st.Mode&unix.S_IFMT == source.ModeFile && strings.HasSuffix(rel, source.Suffix):
		n, _, err = f.fileNode(rel, func(_ string, room []byte) ([]byte, unix.Stat_t, error) { return dir.ReadRegular(name, room) })
	default:
		n, _, err = f.look(rel)
	}
	return n, err
}

// find resolves a shown name in a directory. The ciphertext wins over a
// directory, link or plain file of the same shown name.
func (f *FS) find(dir, name string) (*node, content, error) {
	if len(name) <= source.MaxName {
		n, c, err := f.look(source.Join(dir, name+source.Suffix))
		if err == nil && n.kind != source.ModeDir {
			return n, c, nil
		}
		if err != nil && err != unix.ENOENT {
			return nil, c, err
		}
	}
	n, c, err := f.look(source.Join(dir, name))
	if err != nil {
		return nil, c, err
	}
	if (source.Entry{Name: name, Kind: n.kind}).ShownName(f.cfg.Plain) != name {
		return nil, c, unix.ENOENT
	}
	return n, c, nil
}

// Readlink answers with the text that readers of the mount can follow, and
// EACCES for a link that could lead them out of it: the kernel resolves the
// text in the reader's own tree, with the reader's own rights.
func (f *FS) Readlink(r *session.Request) ([]byte, fuse.Status) {
	n := f.resolve(r, r.NodeId)
	if n == nil {
		return nil, unknown(r)
	}
	text, err := f.readLink(n.rel)
	switch {
	case leadsElsewhere(err):
		return nil, f.walkAgain(r)
	case err != nil:
		return nil, sourceStatus(err)
	}
	return []byte(text), fuse.OK
}

// leadsElsewhere: something else, or nothing, is where a file or link was when
// the kernel looked it up. A walk from the root finds what it is.
func leadsElsewhere(err error) bool { return err == syscall.ENOENT || isOther(err) }

// isOther: a file, a link or a directory is where something else was expected.
func isOther(err error) bool {
	return err == syscall.EINVAL || err == syscall.ELOOP || err == syscall.ENOTDIR
}

// walkAgain makes the kernel walk the path again.
func (f *FS) walkAgain(r *session.Request) fuse.Status {
	f.mode.walksAgain(r.Pid)
	return fuse.Status(syscall.ESTALE)
}

var errLeaves = fmt.Errorf("link leads out of the mount: %w", syscall.EACCES)

// readLink is the text of a link as readers see it.
func (f *FS) readLink(rel string) (string, error) {
	target, err := f.source.ReadLink(rel)
	if err != nil {
		return "", err
	}
	if !source.Confine(rel, target) {
		f.cfg.Log.Warn("link leads out of the mount", "path", audit.Printable(rel), "target", audit.Printable(target))
		return "", errLeaves
	}
	return f.linkText(rel, target), nil
}

func (f *FS) linkText(rel, target string) string {
	return source.ShownTarget(target, func() bool {
		return source.Confine(rel, target) && f.source.IsDir(source.Join(source.Parent(rel), target))
	})
}
