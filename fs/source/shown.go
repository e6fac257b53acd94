package source

import "strings"

const (
	// Suffix is what the name of a ciphertext ends in.
	Suffix = ".cipher"
	// MaxName is the longest name that can be shown, in bytes: with the
	// suffix it must still be a name in the source (NAME_MAX is 255).
	MaxName = 255 - len(Suffix)
)

// ShownName is the name under which an entry appears: regular files and links
// lose the suffix, directories keep theirs. It is empty for what is hidden: a
// file named just ".cipher", or a regular file without the suffix unless plain
// files are shown.
func (e Entry) ShownName(plain bool) string {
	base, cut := strings.CutSuffix(e.Name, Suffix)
	switch {
	case e.Kind == ModeDir:
		return e.Name
	case cut:
		return base
	case e.Kind == ModeLink || plain:
		return e.Name
	}
	return ""
}

// IsCiphertext tells whether an entry is one whose name loses its suffix.
func (e Entry) IsCiphertext() bool {
	return e.Kind != ModeDir && strings.HasSuffix(e.Name, Suffix)
}

// ShownTarget is the text of a link as readers see it: a link to x.cipher is
// a link to x, unless x.cipher is a directory.
func ShownTarget(target string, isDir func() bool) string {
	base, cut := strings.CutSuffix(target, Suffix)
	if !cut || base == "" || strings.HasSuffix(base, "/") || isDir() {
		return target
	}
	return base
}
