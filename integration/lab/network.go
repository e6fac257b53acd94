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
	type answer struct {
		conn net.Conn
		err  error
	}
	dialled := make(chan answer, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		conn, err := l.dialInside(ctx, network, address)
		dialled <- answer{conn, err}
	}()
	a := <-dialled
	return a.conn, a.err
}

func (l *Lab) dialInside(ctx context.Context, network, address string) (net.Conn, error) {
	fd, err := unix.Open(l.Network, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter network namespace: %w", err)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}
