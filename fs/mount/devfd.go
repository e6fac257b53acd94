package mount

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DevFD is where a mountpoint is a descriptor of /dev/fuse: somebody else,
// like mount.fuse3 for drop_privileges, has mounted already.
const DevFD = "/dev/fd/"

// HandedIn opens such a mountpoint and finds out where it is mounted. Another
// mountpoint has no device.
func HandedIn(point string) (device *os.File, mountpoint string, err error) {
	number, isFD := strings.CutPrefix(point, DevFD)
	if !isFD {
		return nil, "", nil
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 3 || strconv.Itoa(n) != number || !IsDevice(n) {
		return nil, "", fmt.Errorf("open mountpoint %s: no descriptor of /dev/fuse", strconv.QuoteToASCII(point))
	}
	unix.CloseOnExec(n) // a command that is run for credentials must not hold it
	device = os.NewFile(uintptr(n), "/dev/fuse")
	mounts, err := Of(device)
	if err != nil {
		return nil, "", err
	}
	if len(mounts) == 0 {
		return nil, "", fmt.Errorf("open mountpoint %s: nothing of type %s is mounted with it", strconv.QuoteToASCII(point), Type)
	}
	return device, mounts[len(mounts)-1].Point, nil
}

// IsDevice tells whether a descriptor is one of /dev/fuse.
func IsDevice(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(10, 229)
}
