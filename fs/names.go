package fs

import "strings"

const (
	suffix = ".cipher"
	// maxName is the longest name that can be shown, in bytes: with the
	// suffix it must still be a name in the source (NAME_MAX is 255).
	maxName = 255 - len(suffix)
)

// shownName is the name under which a source entry appears: regular files
// and links lose the suffix, directories keep theirs. It is empty for what is
// hidden: a file named just ".cipher", or a regular file without the suffix
// unless plain files are shown.
func shownName(e dirent, plain bool) string {
	base, cut := strings.CutSuffix(e.name, suffix)
	switch {
	case e.typ == modeDir:
		return e.name
	case cut:
		return base
	case e.typ == modeLink || plain:
		return e.name
	}
	return ""
}

// isCiphertext tells whether a source name is one that loses its suffix.
func isCiphertext(e dirent) bool {
	return e.typ != modeDir && strings.HasSuffix(e.name, suffix)
}

// shownTarget is the text of a link as readers see it: a link to x.cipher is
// a link to x, unless x.cipher is a directory.
func shownTarget(target string, isDir func() bool) string {
	base, cut := strings.CutSuffix(target, suffix)
	if !cut || base == "" || strings.HasSuffix(base, "/") || isDir() {
		return target
	}
	return base
}
