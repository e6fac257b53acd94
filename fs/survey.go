package fs

import (
	"cmp"
	iofs "io/fs"
	"log/slog"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// Survey says what a mount of a source would answer, without a mount, a cache
// or a key service: an FS that nobody serves is asked what the kernel asks.
type Survey struct {
	// Names are the source paths of what has an Entry: each ciphertext and
	// link that is shown, also beneath a directory that is not entered, or
	// that directory. They are sorted by their bytes.
	Names []string

	dir      string
	fs       *FS
	nobody   session.Request
	unlisted map[string]error // what cannot be reached, and why
}

// Entry is what open(2) of one shown thing meets before the key service is
// asked.
type Entry struct {
	// Target is the source path of what a link leads to, through all links;
	// empty for what is no link, and for a link that leads nowhere.
	Target string
	// Ciphertext is what a file holds; nil for a directory, and for a file that
	// is shown as it is.
	Ciphertext kms.Ciphertext
	// Exposed says that the file is a secret that was never encrypted.
	Exposed bool
	// Err is why open(2) fails. It begins with the name of its errno, or
	// says like the log why a file is no ciphertext.
	Err error
}

// NewSurvey lists the source. It reads no file yet; by recognises what files
// hold.
func NewSurvey(name string, plain bool, by kms.Recogniser) (*Survey, error) {
	src, err := source.Open(name)
	if err != nil {
		return nil, err
	}
	s := &Survey{
		dir:      name,
		fs:       &FS{cfg: Config{Plain: plain, Log: slog.New(slog.DiscardHandler)}, source: src, contents: newContents(by)},
		unlisted: map[string]error{},
	}
	s.fs.mode = newMode(s.fs, false)
	if err := s.list(""); err != nil {
		src.Close()
		return nil, err
	}
	slices.Sort(s.Names)
	return s, nil
}

// Close lets go of the source.
func (s *Survey) Close() { s.fs.source.Close() }

func (s *Survey) list(dir string) error {
	all, err := s.fs.source.List(dir)
	if err != nil {
		return err
	}
	for _, e := range s.fs.shown(dir, all) {
		rel := source.Join(dir, e.Name)
		switch {
		case e.Kind == source.ModeDir:
			// A mount has looked the name up before it lists the directory.
			_, _, err := s.fs.find(dir, e.Name)
			if err == nil {
				err = s.list(rel)
			}
			if err != nil {
				s.unreached(rel, err)
			}
			continue
		case e.Kind != source.ModeLink && !e.IsCiphertext():
			continue // shown as it is
		}
		s.Names = append(s.Names, rel)
	}
	return nil
}

// unreached names the ciphertexts beneath a directory that a mount does not
// enter, as far as others see them; if there are none, the directory itself.
func (s *Survey) unreached(rel string, why error) {
	before := len(s.Names)
	if s.isRemote(rel) {
		s.unlisted[rel] = why
		s.Names = append(s.Names, rel)
		return
	}
	_ = filepath.WalkDir(filepath.Join(s.dir, rel), func(name string, e iofs.DirEntry, err error) error {
		below, relErr := filepath.Rel(s.dir, name)
		if err == nil && relErr == nil && e.Type().IsRegular() && strings.HasSuffix(e.Name(), source.Suffix) {
			s.unlisted[below] = why
			s.Names = append(s.Names, below)
		}
		return nil // what cannot be listed has no names
	})
	if len(s.Names) == before {
		s.unlisted[rel] = why
		s.Names = append(s.Names, rel)
	}
}

// isRemote says whether what is mounted on a directory may not answer.
func (s *Survey) isRemote(rel string) bool {
	at, err := filepath.Abs(filepath.Join(s.dir, rel))
	if err != nil {
		return true
	}
	there, ok, err := mount.At(at)
	if err != nil || !ok {
		return err != nil
	}
	for _, kind := range []string{"nfs", "cifs", "smb", "fuse", "9p", "ceph", "afs", "autofs"} {
		if strings.HasPrefix(there.Type, kind) {
			return true
		}
	}
	return false
}

// Look judges one of Names as it is now. It may be called from many
// goroutines; each call holds the bytes of at most one file.
func (s *Survey) Look(name string) Entry {
	if err := s.unlisted[name]; err != nil {
		return Entry{Err: refusalOf(err, false)}
	}
	n, c, followed, err := s.resolve(source.Parent(name), strings.TrimSuffix(path.Base(name), source.Suffix))
	if err == nil && n.kind == source.ModeDir && !followed {
		err = &refusal{errno: unix.EISDIR} // "..cipher" is shown as ".", or it is another thing by now
	}
	if err != nil {
		return Entry{Err: err}
	}
	e := Entry{Ciphertext: c.kind, Err: c.err()}
	e.Exposed = e.Err != nil && c.kind.Refusal().Exposed
	if followed {
		e.Target = cmp.Or(n.rel, ".")
	}
	return e
}

// maxLinks is how many links the kernel follows on one way.
const maxLinks = 40

// resolve goes the way that a text leads from a directory of a mount, as the
// kernel does: a LOOKUP for each name, and the text of a link in its place.
// Its errors are refusals.
func (s *Survey) resolve(dir, text string) (n *node, c content, followed bool, err error) {
	n = &node{rel: dir, kind: source.ModeDir}
	links := 0
	for rest := strings.Split(text, "/"); len(rest) > 0; {
		if n.kind != source.ModeDir { // also where nothing follows but a slash
			return nil, c, true, &refusal{unix.ENOTDIR, "leads through a file"}
		}
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			n = &node{rel: source.Parent(n.rel), kind: source.ModeDir}
			continue
		}
		dir := n
		l, err := s.fs.findWhole(&s.nobody, dir.rel, name)
		if err != nil {
			return nil, c, links > 0, refusalOf(err, links > 0)
		}
		n, c = l.node, l.content
		if n.kind != source.ModeLink {
			continue
		}
		if links++; links > maxLinks {
			return nil, c, true, &refusal{unix.ELOOP, "leads back to itself, or through too many links"}
		}
		text, err := s.fs.readLink(n.rel)
		if err != nil {
			return nil, c, true, refusalOf(err, true)
		}
		rest = append(strings.Split(text, "/"), rest...)
		n = dir
	}
	return n, c, links > 0, nil
}

// refusal is an errno of a mount in words that are the same everywhere.
type refusal struct {
	errno syscall.Errno
	why   string // what the errno's own words leave open
}

// refusalOf is what a mount makes of an error of the source; linked says that
// a link led there.
func refusalOf(err error, linked bool) error {
	r := &refusal{errno: syscall.Errno(sourceStatus(err))}
	switch {
	case err == errLeaves:
		r.why = "leads out of the mount"
	case err == source.ErrTorn:
		r.why = err.Error()
	case r.errno == unix.EXDEV && linked:
		r.why = "leads to what something else is mounted on"
	case r.errno == unix.EXDEV:
		r.why = "something else is mounted on it"
	case r.errno == unix.ENOENT && linked:
		r.why = "leads to nothing that is shown"
	}
	return r
}

func (r *refusal) Error() string {
	words := unix.ErrnoName(r.errno) + ", " + r.errno.Error()
	if r.why != "" {
		words += ": " + r.why
	}
	return words
}

func (r *refusal) Unwrap() error { return r.errno }
