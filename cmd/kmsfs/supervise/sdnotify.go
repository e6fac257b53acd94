package supervise

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Notify tells systemd how this service is, in the words of sd_notify(3):
// lines like READY=1. Descriptors go along for FDSTORE=1. Where systemd does
// not listen, nothing happens. What is said can be read by everybody on the
// machine (systemctl status): no name of a file belongs into it.
func Notify(state string, fds ...int) error {
	address := os.Getenv("NOTIFY_SOCKET") // Go takes a leading @ for the abstract name space
	if address == "" {
		return nil
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer unix.Close(socket)
	// A systemd that does not read must not stop us.
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(socket, []byte(state), rights, &unix.SockaddrUnix{Name: address}, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
