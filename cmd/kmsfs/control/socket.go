package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
)

// A mount has one control socket, which the daemon and its clients find from
// the mount table alone, so that nobody has to touch the mount: the owner of
// the mount says in which directory, the device number under which name.
//
// The directory is below the owner's runtime directory: /run for root,
// $XDG_RUNTIME_DIR or /run/user/UID for others. No two file systems have the
// same device number at a time, in whatever namespace they are mounted.

// endpoint is where the socket of one mount is.
type endpoint struct {
	owner int    // the user that the daemon runs as
	name  string // of the socket
	dir   string // for messages
}

func endpointOf(m mount.Entry, getenv func(string) string) (endpoint, error) {
	for _, o := range m.Super {
		if v, ok := strings.CutPrefix(o, "user_id="); ok {
			owner, err := strconv.Atoi(v)
			if err != nil {
				break
			}
			return endpoint{owner, strings.ReplaceAll(m.Device, ":", "-") + ".sock", filepath.Join(runtimeDir(owner, getenv), "kmsfs")}, nil
		}
	}
	return endpoint{}, errors.New("the mount table does not say whose mount it is")
}

// serverDir is the runtime directory of kmsfs@.service and its user.
const serverDir = "/run/kmsfs-server"

func runtimeDir(owner int, getenv func(string) string) string {
	if owner == 0 {
		return "/run"
	}
	if dir := getenv("XDG_RUNTIME_DIR"); owner == os.Geteuid() && filepath.IsAbs(dir) {
		return dir
	}
	var st unix.Stat_t
	if unix.Lstat(serverDir, &st) == nil && int(st.Uid) == owner {
		return serverDir // nobody logs in as the user of a service
	}
	return "/run/user/" + strconv.Itoa(owner)
}

// open opens the directory, and makes it first if the daemon asks. It must be
// the owner's and nobody else's to look into, and no link.
func (p endpoint) open(create bool) (*os.File, error) {
	parent, err := openDir(unix.AT_FDCWD, "", filepath.Dir(p.dir), 0)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if p.owner != 0 {
		if err := private(parent, p.owner); err != nil {
			return nil, err
		}
	}
	name := filepath.Base(p.dir)
	if create {
		if err := unix.Mkdirat(int(parent.Fd()), name, 0o700); err != nil && err != unix.EEXIST {
			return nil, &os.PathError{Op: "mkdir", Path: p.dir, Err: err}
		}
	}
	dir, err := openDir(int(parent.Fd()), filepath.Dir(p.dir), name, unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	if err := private(dir, p.owner); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

func openDir(at int, above, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(above, name), Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(above, name)), nil
}

func private(dir *os.File, owner int) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if int(st.Uid) != owner || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s has owner %d and mode %04o; it must be owned by %d with mode 0700",
			ui.Quote(dir.Name()), st.Uid, st.Mode&0o7777, owner)
	}
	return nil
}

// within is the socket's address through a directory that is open. What the
// path led to cannot change any more, and is never too long for an address.
func (p endpoint) within(dir *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), p.name)
}
