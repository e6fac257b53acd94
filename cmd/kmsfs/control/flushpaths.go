package control

import (
	"path/filepath"
	"strings"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

// FlushRequest is a flush of paths, which are made relative to a mount by their text
// alone. mnt is how the user wrote the mountpoint, point how the mount table does.
func FlushRequest(mnt, point string, paths []string) (Request, error) {
	r := Request{Verb: VerbFlush}
	if len(paths) > MaxFlushPaths {
		return r, ui.Usagef("flush %s: more than %d paths", ui.Quote(mnt), MaxFlushPaths).
			Hint("name a directory, or nothing for all files")
	}
	for _, path := range paths {
		rel, ok := beneath(mnt, point, path)
		if !ok {
			return r, ui.Usagef("flush %s: %s is not beneath it", ui.Quote(mnt), ui.Quote(path)).
				Hint("a PATH is relative to MNT, or absolute")
		}
		r.Paths = append(r.Paths, []byte(rel))
	}
	return r, nil
}

func beneath(mnt, point, path string) (rel string, ok bool) {
	if path == "" || strings.ContainsRune(path, 0) {
		return "", false
	}
	if !filepath.IsAbs(path) {
		return filepath.Clean(path), filepath.IsLocal(path)
	}
	typed, err := filepath.Abs(mnt)
	if err != nil {
		return "", false
	}
	for _, top := range []string{point, typed} {
		if rel, err := filepath.Rel(top, path); err == nil && filepath.IsLocal(rel) {
			return rel, true
		}
	}
	return "", false
}
