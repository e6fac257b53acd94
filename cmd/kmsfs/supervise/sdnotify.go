package supervise

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Notify tells systemd how this service is, in the words of sd_notify(3):
// lines like READY=1. Where systemd does not listen, nothing happens. It never
// waits: systemd may be waiting for us, and then it reads nothing. What is said
// can be read by everybody on the machine (systemctl status): no name of a file
// belongs into it.
func Notify(state string) error {
	address := os.Getenv("NOTIFY_SOCKET") // Go takes a leading @ for the abstract name space
	if address == "" {
		return nil
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer unix.Close(socket)
	if err := unix.Sendmsg(socket, []byte(state), nil, &unix.SockaddrUnix{Name: address}, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}

// NotifyUntilHeard is Notify for what systemd must know. While it does not read,
// that is tried again, behind the caller's back.
func NotifyUntilHeard(state string) error {
	err := Notify(state)
	if errors.Is(err, unix.EAGAIN) {
		time.AfterFunc(notifyAgain, func() { NotifyUntilHeard(state) })
		return nil
	}
	return err
}

const notifyAgain = 50 * time.Millisecond
