package mount

import (
	"os"
	"path/filepath"
	"syscall"
)

// RealPoint is the path under which the mount table has a mountpoint. It is
// found without looking at the mountpoint itself: a mount whose process has
// died cannot be looked at.
func RealPoint(point string) (string, error) {
	point, err := filepath.Abs(point)
	for range 40 { // as many links as the kernel follows
		if err != nil || point == "/" {
			return point, err
		}
		parent, err := filepath.EvalSymlinks(filepath.Dir(point))
		if err != nil {
			return "", err
		}
		point = filepath.Join(parent, filepath.Base(point))
		target, err := os.Readlink(point)
		if err != nil {
			return point, nil // no link
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(parent, target)
		}
		point = filepath.Clean(target)
	}
	return "", &os.PathError{Op: "open", Path: point, Err: syscall.ELOOP}
}
