package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ownGroup keeps a child away from the terminal's Ctrl-C, which is for the
// demonstration to handle; the child does not outlive it all the same.
func ownGroup(cmd *exec.Cmd, onDeath syscall.Signal) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: onDeath}
	cmd.WaitDelay = time.Second
}

// output runs a program to its end and returns what it printed. The end of the
// context ends the program and its children.
func output(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	wait, err := start(ctx, cmd)
	if err == nil {
		err = wait()
	}
	if err != nil {
		return "", failed(cmd, err, stderr.String())
	}
	return stdout.String(), nil
}

// start starts a program that the end of the context, or too much time, ends.
func start(ctx context.Context, cmd *exec.Cmd) (wait func() error, err error) {
	ownGroup(cmd, syscall.SIGKILL)
	ctx, cancel := context.WithTimeout(ctx, patience)
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return func() error {
		defer cancel()
		defer stop()
		return cmd.Wait()
	}, nil
}

func failed(cmd *exec.Cmd, err error, stderr string) error {
	return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.ReplaceAll(strings.TrimSpace(stderr), "\n", "; "))
}

// tool is a program of the system, in the lab's environment.
func (d *demo) tool(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = d.dir
	cmd.Env = d.lab.Env("LC_ALL=C")
	return cmd
}

// until asks again and again, for a while.
func until(ctx context.Context, what string, ok func() (bool, error)) error {
	late := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late:
			return fmt.Errorf("%s: not within %v", what, patience)
		}
	}
}

// process is a process that is not a child. The descriptor means it and no
// later one with its number.
type process struct{ pid, fd int }

func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	return &process{pid, fd}, nil
}

// parent opens the process that has started this one.
func (p *process) parent() (*process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return nil, err
	}
	var state string
	var pid int
	if _, err := fmt.Sscan(string(stat[bytes.LastIndexByte(stat, ')')+1:]), &state, &pid); err != nil {
		return nil, err
	}
	return openProcess(pid)
}

// ended waits for the end of the process.
func (p *process) ended(within time.Duration) bool {
	for late := time.Now().Add(within); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, max(0, int(time.Until(late).Milliseconds())))
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// end waits for the process to end by itself, then makes it.
func (p *process) end(grace time.Duration) error {
	defer unix.Close(p.fd)
	if p.ended(grace) {
		return nil
	}
	unix.PidfdSendSignal(p.fd, unix.SIGTERM, nil, 0)
	if p.ended(time.Second) {
		return nil
	}
	unix.PidfdSendSignal(p.fd, unix.SIGKILL, nil, 0)
	if p.ended(patience) {
		return nil
	}
	return fmt.Errorf("process %d does not end", p.pid)
}
