package mountpoint

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
)

// Explain adds what to do about a mount that failed. handedIn: somebody else has
// mounted.
func Explain(err error, handedIn, shared bool) error {
	if missing, ok := errors.AsType[*mount.OptionError](err); ok && handedIn {
		return ui.Failf("%w", err).Hint("whoever mounts it must give it %s; "+
			"in /etc/fstab add: ro,nosuid,nodev,noexec,default_permissions", missing.Option)
	}
	f := ui.Failf("%w", err)
	text := err.Error()
	switch unprivileged, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); {
	case errors.Is(err, syscall.EPERM) && shared && os.Geteuid() != 0:
		return f.Hint("only root may make a mount shared")
	case errors.Is(err, syscall.EPERM):
		return f.Hint("mounting needs CAP_SYS_ADMIN")
	case os.Geteuid() == 0:
		return err
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		return f.Hint("as another user than root kmsfs needs fusermount3, from the package fuse3")
	case unprivileged == 1:
		return f.Hint("no_new_privs keeps fusermount3 from its set-uid bit: start kmsfs without it (NoNewPrivileges=no), or as root")
	case strings.Contains(text, "user_allow_other"):
		return f.Hint("write the line user_allow_other into /etc/fuse.conf, as root; or leave allow_other out")
	case strings.Contains(text, "write access to mountpoint"):
		return f.Hint("as another user than root choose a mountpoint that you own")
	}
	return f.Hint("as another user than root kmsfs needs fusermount3 with its set-uid bit, and a mountpoint that you own")
}
