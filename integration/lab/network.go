package lab

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// command is one of the built programs, in the lab's network.
func (l *Lab) command(name string, args ...string) *exec.Cmd {
	path := filepath.Join(l.Bin, name)
	if l.Network == "" {
		return exec.Command(path, args...)
	}
	return exec.Command("nsenter", append([]string{"--net=" + l.Network, "--", path}, args...)...)
}

// Dial connects to an address of the lab's network. A connection stays in the
// namespace it was made in, so only the thread that makes it has to go there.
func (l *Lab) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if l.Network == "" {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	fd, err := unix.Open(l.Network, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	defer unix.Close(fd)
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	defer unix.Close(home)
	// The thread has to come back: with it would end the processes that were
	// started from it (Pdeathsig).
	runtime.LockOSThread()
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("enter network namespace: %w", err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		panic("leave network namespace: " + back.Error())
	}
	runtime.UnlockOSThread()
	return conn, err
}
