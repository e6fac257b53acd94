package main

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs"
)

// devFD is where a mountpoint is a descriptor of /dev/fuse: somebody else,
// like mount.fuse3 for drop_privileges, has mounted already.
const devFD = "/dev/fd/"

// handedIn opens such a mountpoint and finds out where it is mounted.
func handedIn(point string) (device *os.File, mountpoint string, err error) {
	number, isFD := strings.CutPrefix(point, devFD)
	if !isFD {
		return nil, "", nil
	}
	n, err := strconv.Atoi(number)
	var st unix.Stat_t
	if err != nil || n < 3 || strconv.Itoa(n) != number || unix.Fstat(n, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(10, 229) {
		return nil, "", ui.Failf("open mountpoint %s: no descriptor of /dev/fuse", ui.Quote(point))
	}
	unix.CloseOnExec(n) // a command that is run for credentials must not hold it
	device = os.NewFile(uintptr(n), "/dev/fuse")
	mounts, err := fs.MountOf(device)
	if err != nil {
		return nil, "", err
	}
	if len(mounts) == 0 {
		return nil, "", ui.Failf("open mountpoint %s: nothing of type %s is mounted with it", ui.Quote(point), fs.Type)
	}
	return device, mounts[len(mounts)-1].Point, nil
}
