package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/mount"
)

// server is a process in the foreground that serves a mount.
type server struct {
	point string
	cmd   *exec.Cmd
	said  bytes.Buffer
	ended chan struct{} // closed when the process has ended
}

// serve starts a program and returns when its mount answers. A Ctrl-C is not
// for it, and it does not outlive the harness.
func serve(ctx context.Context, cmd *exec.Cmd, point string) (*server, error) {
	if err := os.MkdirAll(point, 0o700); err != nil {
		return nil, err
	}
	s := &server{point: point, cmd: cmd, ended: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Stdout, cmd.Stderr = &s.said, &s.said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { cmd.Wait(); close(s.ended) }()
	late := time.After(patience)
	for {
		if _, mounted, err := mount.At(point); err != nil || mounted {
			if err == nil {
				_, err = os.Stat(point)
			}
			if err == nil {
				return s, nil
			}
			return nil, errors.Join(err, s.stop())
		}
		select {
		case <-s.ended:
			return nil, fmt.Errorf("%s ended: %s", cmd.Path, &s.said)
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), s.stop())
		case <-late:
			return nil, errors.Join(fmt.Errorf("%s does not mount", cmd.Path), s.stop())
		case <-time.After(time.Millisecond):
		}
	}
}

// stop unmounts, and ends the process. It ends by itself, unless a mount
// namespace that somebody made meanwhile has a copy of the mount.
func (s *server) stop() error {
	err := unmount(s.point)
	for _, sig := range []syscall.Signal{0, syscall.SIGTERM, syscall.SIGKILL} {
		s.cmd.Process.Signal(sig)
		select {
		case <-s.ended:
			return err
		case <-time.After(time.Second):
		}
	}
	<-s.ended
	return err
}

// unmount detaches what is mounted at a path, if anything is.
func unmount(point string) error {
	if _, mounted, err := mount.At(point); err != nil || !mounted {
		return err
	}
	err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
	for late := time.Now().Add(time.Second); err == unix.EBUSY && time.Now().Before(late); {
		time.Sleep(time.Millisecond)
		err = unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
	}
	if err == unix.EBUSY {
		err = unix.Unmount(point, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err != nil {
		return &os.PathError{Op: "unmount", Path: point, Err: err}
	}
	return nil
}
