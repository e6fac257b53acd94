package fs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

func TestEachFailureHasItsErrno(t *testing.T) {
	class := func(err error) error { return fmt.Errorf("load: %w", &kms.Error{Class: err, Action: "Decrypt"}) }
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{class(kms.ErrDenied), syscall.EACCES},
		{class(kms.ErrAuthentication), syscall.EACCES},
		{class(kms.ErrKeyState), syscall.EKEYREVOKED},
		{class(kms.ErrBadCiphertext), syscall.EBADMSG},
		{class(kms.ErrBadAnswer), syscall.EIO},
		{class(kms.ErrTransient), syscall.EIO},
		{class(kms.ErrInvalid), syscall.EIO},
		{&kms.Error{Class: kms.ErrTransient, Cause: context.DeadlineExceeded}, syscall.ETIMEDOUT},
		{&kms.Error{Class: kms.ErrTransient, Cause: context.Canceled}, syscall.EINTR},
		{context.Canceled, syscall.EINTR},
		{os.ErrDeadlineExceeded, syscall.ETIMEDOUT},
		{cache.ErrFull, syscall.ENOMEM},
		{cache.ErrClosed, syscall.EIO},
		{errors.New("anything else"), syscall.EIO},
	} {
		if got := loadStatus(c.err); got != fuse.Status(c.want) {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
	for err, want := range map[error]syscall.Errno{
		syscall.ENOENT: syscall.ENOENT, syscall.EAGAIN: syscall.EIO, syscall.EACCES: syscall.EACCES, syscall.ENOTDIR: syscall.ENOENT,
		syscall.EXDEV: syscall.EXDEV, syscall.EINVAL: syscall.EIO, source.ErrTorn: syscall.EIO, errors.New("else"): syscall.EIO,
	} {
		if got := sourceStatus(err); got != fuse.Status(want) {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}
