package mount

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// fusermountDevice mounts through the set-uid program of fuse3, which is how
// a user other than root may mount, and returns the descriptor that speaks to
// the kernel.
func fusermountDevice(point, options string) (fd int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "to fusermount3")
	defer unix.Close(pair[0])
	err = fusermount(theirs, "-o", options, "--", point)
	theirs.Close()
	if err != nil {
		return -1, err
	}
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fusermount3: receive the descriptor: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("fusermount3: it sent no descriptor")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("fusermount3: it sent no descriptor")
	}
	return fds[0], nil
}

// fusermountUnmount is how a user other than root may end a mount of their
// own.
func fusermountUnmount(point string, lazy bool) error {
	args := []string{"-u"}
	if lazy {
		args = append(args, "-z")
	}
	err := fusermount(nil, append(args, "--", point)...)
	if err != nil && strings.Contains(err.Error(), "busy") {
		err = syscall.EBUSY
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", point, err)
	}
	return nil
}

// fusermount runs fusermount3, with nothing of our environment. Its message is
// the error.
func fusermount(socket *os.File, args ...string) error {
	path, err := exec.LookPath("fusermount3")
	if err != nil {
		path = "/bin/fusermount3" // mount(8) starts its helpers without PATH
	}
	var stderr bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stderr = &stderr
	cmd.Env = []string{}
	if socket != nil {
		cmd.ExtraFiles = []*os.File{socket}
		cmd.Env = []string{"_FUSE_COMMFD=3"}
	}
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(stderr.String()); text != "" {
			return fmt.Errorf("%s", strings.ReplaceAll(text, "\n", "; "))
		}
		return fmt.Errorf("fusermount3: %w", err)
	}
	return nil
}
