package fs

import (
	"fmt"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/fs/source"
)

// Readlink answers with the text that readers of the mount can follow, and
// EACCES for a link that could lead them out of it: the kernel resolves the
// text in the reader's own tree, with the reader's own rights.
func (f *FS) Readlink(r *session.Request) ([]byte, fuse.Status) {
	n := f.known(r, r.NodeId)
	if n == nil {
		return nil, unknown(r)
	}
	text, err := f.readLink(n.rel)
	if err != nil {
		return nil, sourceStatus(err)
	}
	return []byte(text), fuse.OK
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
