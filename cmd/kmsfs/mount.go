package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/mount"
)

func mountCommand(p *program) *cobra.Command {
	s, err := defaults()
	var foreground bool
	cmd := &cobra.Command{
		Use:   "mount SRC MNT",
		Short: "Mount a directory of *.cipher files",
		Long: `mount shows the directory SRC at MNT: a file NAME.cipher appears as NAME and
reads as its plaintext. The mount is read-only. It needs no network: the key
service is called when a file is opened.

MNT must be an empty directory, or SRC itself. The command returns when the
mount answers, and leaves a process in the background that serves it, until
kmsfs umount MNT.

Credentials come from the first of these that is configured: --ram-role,
--credentials-file or --profile; ALIBABA_CLOUD_ACCESS_KEY_ID, _ACCESS_KEY_SECRET
and _SECURITY_TOKEN; OIDC (RRSA); ~/.aliyun/config.json or
~/.alibabacloud/credentials; ALIBABA_CLOUD_CREDENTIALS_URI; the RAM role of the
ECS instance. A file with credentials, and the directories above it, must be
writable by nobody but root and you.

The connection can also be given by ALIBABA_CLOUD_REGION_ID, KMSFS_ENDPOINT and
KMSFS_CA_FILE; options win.`,
		Example: `  kmsfs mount certs /run/certs
  kmsfs mount -o ttl=5m,allow_other,gid=33,file_mode=0440 /etc/app/secrets /run/secrets
  kmsfs mount --foreground certs certs`,
		Args: exactly("SRC", "MNT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			m := &mounting{p: p, settings: s, source: args[0], point: args[1], foreground: foreground}
			return m.run(cmd.Context())
		},
	}
	if err != nil {
		cmd.RunE = func(*cobra.Command, []string) error { return err }
	}
	s.fromEnvironment(p.getenv, false)
	cmd.Flags().BoolVarP(&foreground, "foreground", "f", false, "stay in the foreground and log to stderr")
	s.addFlags(cmd.Flags(), true)
	return cmd
}

// mounting is one run of the mount command.
type mounting struct {
	*settings
	p             *program
	source, point string
	foreground    bool
	directory     string   // where the command line was written
	unrecorded    bool     // there is no log
	device        *os.File // of /dev/fuse, if somebody else has mounted
}

func (m *mounting) run(ctx context.Context) error {
	in, err := inherit()
	if err != nil {
		return err
	}
	if m.directory, err = m.workingDirectory(); err != nil {
		return err
	}
	if in.line != nil {
		if err := m.absolute(in.line.Device); err != nil {
			return err
		}
		return m.serve(ctx, inherited(), in)
	}
	if err := m.resolve(); err != nil {
		return err
	}
	if in.background {
		return m.serve(ctx, inherited(), in)
	}
	if m.foreground {
		return m.serve(ctx, nil, in)
	}
	if ready := inherited(); ready != nil && m.device != nil {
		return m.serve(ctx, ready, inheritance{background: true}) // who mounted it would have to hold it
	} else if ready != nil {
		return m.hold(ready)
	}
	return startBackground(m.p, m.device)
}

// workingDirectory is where the command line was written. One that has been
// removed is none, and is needed only for a relative path: without one, the
// processes of the mount find each other's paths from the root.
func (m *mounting) workingDirectory() (string, error) {
	directory, err := os.Getwd()
	if err == nil {
		return directory, nil
	}
	for _, path := range []string{m.source, m.point, m.caFile, m.logFile} {
		if path != "" && !filepath.IsAbs(path) {
			return "", failf("find %s: the working directory: %w", quote(path), errors.Unwrap(err)).
				hint("the directory has been removed; change to another one, or give absolute paths")
		}
	}
	return "/", nil
}

// absolute makes the paths independent of the working directory, and touches
// none that leads through a mount which only waits for us.
func (m *mounting) absolute(device *os.File) (err error) {
	if m.source, err = filepath.Abs(m.source); err != nil {
		return failf("open source %s: %w", quote(m.source), err)
	}
	if strings.HasPrefix(m.point, mount.DevFD) {
		mounts, err := mount.Of(device)
		if err != nil || len(mounts) == 0 {
			return failf("take over %s: nothing is mounted with it (%w)", quote(m.point), err)
		}
		m.device, m.point = device, mounts[len(mounts)-1].Point
	} else if m.point, err = mount.RealPoint(m.point); err != nil {
		return failf("open mountpoint: %w", plainPath(err))
	}
	return nil
}

// resolve checks what can be checked without doing anything, and makes the
// paths independent of the working directory.
func (m *mounting) resolve() error {
	if m.fast && m.directIO {
		return usagef("read options: direct_io and open=fast exclude each other").hint("open=checked keeps nothing in the kernel, which is what direct_io means")
	}
	source, err := filepath.Abs(m.source)
	if err != nil {
		return failf("open source %s: %w", quote(m.source), err)
	}
	src, err := os.Stat(source)
	if err != nil {
		return failf("open source: %w", plainPath(err)).hint("SRC is the directory with the *.cipher files")
	}
	if !src.IsDir() {
		return failf("open source %s: not a directory", quote(m.source)).hint("SRC is the directory with the *.cipher files")
	}
	device, point, err := mount.HandedIn(m.point)
	if err != nil {
		return err
	}
	if device != nil {
		m.source, m.point, m.device = source, point, device
		return nil
	}
	point, err = mount.RealPoint(m.point)
	if err != nil {
		return failf("open mountpoint: %w", plainPath(err)).hint("create the directory first: mkdir -p %s", quote(m.point))
	}
	if there, ok, err := mount.At(point); err != nil {
		return err
	} else if ok && there.Type == mount.Type && errors.Is(unix.Statfs(point, new(unix.Statfs_t)), syscall.ENOTCONN) {
		sweepControl(there, m.p.getenv)
		if err := mount.Unmount(point, true); err != nil { // its process has died
			return err
		}
	} else if ok && there.Type == mount.Type {
		return failf("mount %s: kmsfs is mounted there already", quote(m.point)).hint("kmsfs umount %s", quote(m.point))
	}
	mnt, err := os.Stat(point)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return failf("open mountpoint: %w", plainPath(err)).hint("create the directory first: mkdir -p %s", quote(m.point))
	case err != nil:
		return failf("open mountpoint: %w", plainPath(err))
	case !mnt.IsDir():
		return failf("open mountpoint %s: not a directory", quote(m.point))
	}
	if !m.nonempty && !os.SameFile(src, mnt) {
		if empty, err := isEmpty(point); err != nil {
			return failf("open mountpoint: %w", plainPath(err))
		} else if !empty {
			return failf("mount %s: the directory is not empty", quote(m.point)).
				hint("its files would be hidden; choose another mountpoint, or mount with -o nonempty")
		}
	}
	if err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK); err == syscall.EACCES && os.Geteuid() != 0 {
		return failf("open /dev/fuse: %w", err).hint("other users than root may open it when its mode is 0666, as udev makes it: chmod 0666 /dev/fuse")
	} else if err != nil {
		return failf("open /dev/fuse: %w", err).hint("load the module with: modprobe fuse; in a container, pass the device in")
	}
	m.source, m.point = source, point
	return m.seenByHost()
}

func isEmpty(dir string) (bool, error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer d.Close()
	names, _ := d.Readdirnames(1)
	return len(names) == 0, nil
}

// plainPath drops the name of the system call from a path error, which the
// message's own verb says better.
func plainPath(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("%s: %w", quote(pe.Path), pe.Err)
	}
	return err
}

// cause is what went wrong with a file that the message names already.
func cause(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}

// exactly demands the named arguments.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef("read command line: %s is missing", names[len(args)]).hint("usage: %s", cmd.UseLine())
		case len(args) > len(names):
			return usagef("read command line: unexpected %s", quote(args[len(names)])).hint("usage: %s", cmd.UseLine())
		}
		return nil
	}
}
