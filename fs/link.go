package fs

import (
	"path"

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
	target, err := f.source.readLink(n.rel)
	if err != nil {
		return nil, sourceStatus(err)
	}
	if !confine(n.rel, target) {
		f.cfg.Log.Warn("link leads out of the mount", "path", printable(n.rel), "target", printable(target))
		return nil, fuse.EACCES
	}
	return []byte(f.linkText(n.rel, target)), fuse.OK
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
