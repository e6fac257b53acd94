package ciphertexts

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// keepAttributes gives a new file the owner, the permissions, the ACL and the
// extended attributes of the one that it will replace, as far as this user may.
func keepAttributes(old string, next *os.File) (lost string, err error) {
	var st, own unix.Stat_t
	fd := int(next.Fd())
	if err := unix.Lstat(old, &st); errors.Is(err, unix.ENOENT) {
		return "", nil
	} else if err != nil {
		return "", namedError(old, err)
	}
	if err := unix.Fstat(fd, &own); err != nil {
		return "", namedError(next.Name(), err)
	}
	mode := st.Mode & 0o777
	sameOwner, sameGroup := own.Uid == st.Uid, own.Gid == st.Gid
	if !sameGroup {
		sameGroup = unix.Fchown(fd, -1, int(st.Gid)) == nil
	}
	if !sameOwner {
		sameOwner = unix.Fchown(fd, int(st.Uid), -1) == nil
	}
	if !sameOwner {
		lost = fmt.Sprintf("its owner is uid %d now, no longer %d", own.Uid, st.Uid)
	}
	if !sameGroup {
		// The permissions of one group are not another's: that one is
		// among the others.
		mode = mode&^0o070 | mode&0o007<<3
		lost = join(lost, fmt.Sprintf("its group is gid %d now, no longer %d, with the permissions of others", own.Gid, st.Gid))
	}
	// The directory may have given it an ACL, which chmod would widen.
	_ = unix.Fremovexattr(fd, accessACL)
	if err := unix.Fchmod(fd, mode); err != nil {
		lost = join(lost, fmt.Sprintf("its permissions are lost: %v", err))
	}
	names, err := listAttributes(old)
	if err != nil {
		lost = join(lost, narrowed(fd, mode, err))
	}
	for _, name := range names {
		if name == accessACL && !sameGroup || ofContent[name] {
			continue
		}
		if err := copyAttribute(old, fd, name); err != nil && name == accessACL {
			lost = join(lost, narrowed(fd, mode, err))
		}
	}
	return lost, nil
}

// narrowed is what is said of an ACL that could not be kept. The permissions of
// the group were its mask then: the group gets those of others.
func narrowed(fd int, mode uint32, why error) string {
	said := fmt.Sprintf("its ACL is lost: %v", why)
	if err := unix.Fchmod(fd, mode&^0o070|mode&0o007<<3); err != nil {
		said = join(said, fmt.Sprintf("its permissions are lost: %v", err))
	}
	return said
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

const accessACL = "system.posix_acl_access"

// ofContent are attributes that speak of the content which is replaced.
var ofContent = map[string]bool{"security.ima": true, "security.evm": true, "security.capability": true}

// listAttributes is what can be read of a file's extended attributes.
func listAttributes(path string) ([]string, error) {
	size, err := unix.Llistxattr(path, nil)
	if unsupported(err) || err == nil && size == 0 {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	list := make([]byte, size)
	if size, err = unix.Llistxattr(path, list); err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimRight(string(list[:size]), "\x00"), "\x00"), nil
}

func copyAttribute(from string, fd int, name string) error {
	size, err := unix.Lgetxattr(from, name, nil)
	if err != nil {
		return err
	}
	value := make([]byte, size)
	if size, err = unix.Lgetxattr(from, name, value); err != nil {
		return err
	}
	return unix.Fsetxattr(fd, name, value[:size], 0)
}
