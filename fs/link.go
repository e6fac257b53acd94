package fs

import (
	"fmt"
	"path"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Readlink answers with the text that readers of the mount can follow, and
// EACCES for a link that could lead them out of it: the kernel resolves the
// text in the reader's own tree, with the reader's own rights.
func (f *FS) Readlink(cancel <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	n := f.known(cancel, h.NodeId)
	if n == nil {
		return nil, unknown(cancel)
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
	target, err := f.source.readLink(rel)
	if err != nil {
		return "", err
	}
	if !confine(rel, target) {
		f.cfg.Log.Warn("link leads out of the mount", "path", printable(rel), "target", printable(target))
		return "", errLeaves
	}
	return f.linkText(rel, target), nil
}

func (f *FS) linkText(rel, target string) string {
	return shownTarget(target, func() bool {
		return confine(rel, target) && f.source.isDir(join(parentOf(rel), target))
	})
}

// parentOf is the directory of a source path, "" for the source itself.
func parentOf(rel string) string {
	if dir := path.Dir(rel); dir != "." {
		return dir
	}
	return ""
}
