package source

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// ReadLink returns the text of a link.
func (d *Dir) ReadLink(rel string) (string, error) {
	fd, err := d.beneath(rel, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var b [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", b[:])
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// IsDir tells whether a path leads to a directory beneath the source, links
// beneath it allowed.
func (d *Dir) IsDir(rel string) bool {
	fd, err := openBeneath(int(d.file.Fd()), rel, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// Confine judges the text of a link at rel. The kernel resolves the text in
// the reader's own tree, so a link is passed on only when it cannot lead out
// of the mount from anywhere: a relative path whose ".." all stand in front
// and are no more than the directories above the link. A ".." behind a name
// could climb out through a second link and is refused as well.
func Confine(rel, target string) bool {
	if target == "" || path.IsAbs(target) || strings.ContainsRune(target, 0) {
		return false
	}
	depth := strings.Count(rel, "/")
	leading := true
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; !leading || depth < 0 {
				return false
			}
		default:
			leading = false
		}
	}
	return true
}

// Parent is the directory of a source path, "" for the source itself.
func Parent(rel string) string {
	if dir := path.Dir(rel); dir != "." {
		return dir
	}
	return ""
}
