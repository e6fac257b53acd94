package fs

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// sourceStatus is the answer when the source directory cannot be read. EAGAIN
// (a lease held by another process) is no answer that a reader expects from a
// file.
func sourceStatus(err error) fuse.Status {
	var errno syscall.Errno
	switch {
	case err == source.ErrTorn, !errors.As(err, &errno), errno == syscall.EAGAIN, errno == syscall.EINVAL:
		return fuse.EIO
	case errno == syscall.ENOTDIR:
		return fuse.ENOENT
	}
	return fuse.Status(errno)
}

// loadStatus is the answer when plaintext cannot be had. The reader sees only
// the number; the log has the words.
func loadStatus(err error) fuse.Status {
	switch {
	case errors.Is(err, context.Canceled):
		return fuse.EINTR
	case errors.Is(err, kms.ErrDenied), errors.Is(err, kms.ErrAuthentication), errors.Is(err, kms.ErrConfiguration):
		return fuse.EACCES
	case errors.Is(err, kms.ErrKeyState):
		return fuse.Status(syscall.EKEYREVOKED)
	case errors.Is(err, kms.ErrBadCiphertext):
		return fuse.Status(syscall.EBADMSG)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, cache.ErrLate):
		return fuse.Status(syscall.ETIMEDOUT)
	case errors.Is(err, cache.ErrFull):
		return fuse.Status(syscall.ENOMEM)
	}
	return fuse.EIO
}
