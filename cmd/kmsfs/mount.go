package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cache/secmem"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/daemon"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/keyservice"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
)

func mountCommand(p *program) *cobra.Command {
	s, err := options.Defaults()
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
			m := &mounting{p: p, Settings: s, source: args[0], point: args[1], foreground: foreground}
			return m.run(cmd.Context())
		},
	}
	if err != nil {
		cmd.RunE = func(*cobra.Command, []string) error { return err }
	}
	s.FromEnvironment(p.getenv, false)
	cmd.Flags().BoolVarP(&foreground, "foreground", "f", false, "stay in the foreground and log to stderr")
	s.AddFlags(cmd.Flags(), true)
	return cmd
}

// mounting is one run of the mount command.
type mounting struct {
	*options.Settings
	p             *program
	source, point string
	foreground    bool
	directory     string   // where the command line was written
	device        *os.File // of /dev/fuse, if somebody else has mounted
}

func (m *mounting) run(ctx context.Context) error {
	if secmem.SmallPages() && m.p.again != nil {
		_ = m.p.again() // before anything is inherited; without it there is only more memory
	}
	in, err := supervise.Inherit()
	if err != nil {
		return err
	}
	if m.directory, err = m.workingDirectory(); err != nil {
		return err
	}
	if in.Line != nil {
		if err := m.absolute(in.Line.Device); err != nil {
			return err
		}
		return m.serve(ctx, supervise.InheritReadiness(true), in)
	}
	if err := m.resolve(); err != nil {
		return err
	}
	if in.Background {
		return m.serve(ctx, supervise.InheritReadiness(true), in)
	}
	if m.foreground {
		return m.serve(ctx, nil, in)
	}
	if ready := supervise.InheritReadiness(true); ready != nil && m.device != nil {
		return m.serve(ctx, ready, supervise.Inheritance{Background: true}) // who mounted it would have to hold it
	} else if ready != nil {
		if err := secmem.ProtectProcess(); err != nil {
			return err
		}
		return supervise.Hold(m.succession(), ready)
	}
	return supervise.StartBackground(m.p.name, m.p.args, m.device)
}

// succession is how the processes of this mount follow each other.
func (m *mounting) succession() supervise.Config {
	return supervise.Config{
		Name: m.p.name, Args: m.p.args, Directory: m.directory, Point: m.point, Stdout: m.p.stdout, Stderr: m.p.stderr,
		OpenLog: m.daemon().OpenLog,
	}
}

// serve is the process that answers.
func (m *mounting) serve(ctx context.Context, ready *supervise.Readiness, in supervise.Inheritance) error {
	err := daemon.Serve(ctx, m.daemon(), ready, in)
	if failed, ok := errors.AsType[*daemon.MountError](err); ok {
		return m.explainMount(failed.Err)
	}
	return err
}

// daemon is what this mount is made of.
func (m *mounting) daemon() daemon.Config {
	return daemon.Config{
		Settings: m.Settings, Source: m.source, Point: m.point, Device: m.device, Directory: m.directory,
		Version: version, Stderr: m.p.stderr, Getenv: m.p.getenv, Recogniser: blobs.Recogniser{}, Connect: m.connect,
	}
}

// connect builds the client of the key service, and what guards it.
func (m *mounting) connect(log *slog.Logger) (*daemon.KeyService, error) {
	client, err := keyservice.Client(m.Settings, m.p.getenv, log)
	if err != nil {
		return nil, err
	}
	decrypter, gate, err := keyservice.Guard(m.Settings, client)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &daemon.KeyService{Decrypter: decrypter, Gate: gate, Warnings: client.Warnings(), Close: client.Close}, nil
}

// workingDirectory is where the command line was written. One that has been
// removed is none, and is needed only for a relative path: without one, the
// processes of the mount find each other's paths from the root.
func (m *mounting) workingDirectory() (string, error) {
	directory, err := os.Getwd()
	if err == nil {
		return directory, nil
	}
	for _, path := range []string{m.source, m.point, m.CAFile, m.LogFile} {
		if path != "" && !filepath.IsAbs(path) {
			return "", ui.Failf("find %s: the working directory: %w", ui.Quote(path), errors.Unwrap(err)).
				Hint("the directory has been removed; change to another one, or give absolute paths")
		}
	}
	return "/", nil
}

// absolute makes the paths independent of the working directory, and touches
// none that leads through a mount which only waits for us.
func (m *mounting) absolute(device *os.File) (err error) {
	if m.source, err = filepath.Abs(m.source); err != nil {
		return ui.Failf("open source %s: %w", ui.Quote(m.source), err)
	}
	if strings.HasPrefix(m.point, mount.DevFD) && device != nil {
		mounts, err := mount.Of(device)
		if err != nil || len(mounts) == 0 {
			return ui.Failf("take over %s: nothing is mounted with it (%w)", ui.Quote(m.point), err)
		}
		m.device, m.point = device, mounts[len(mounts)-1].Point
	} else if strings.HasPrefix(m.point, mount.DevFD) {
		return nil // a rehearsal, without the device
	} else if m.point, err = mount.RealPoint(m.point); err != nil {
		return ui.Failf("open mountpoint: %w", ui.PlainPath(err))
	}
	return nil
}

// resolve checks what can be checked without doing anything, and makes the
// paths independent of the working directory.
func (m *mounting) resolve() error {
	if m.Fast && m.DirectIO {
		return ui.Usagef("read options: direct_io and open=fast exclude each other").
			Hint("open=checked keeps nothing in the kernel, which is what direct_io means")
	}
	source, err := filepath.Abs(m.source)
	if err != nil {
		return ui.Failf("open source %s: %w", ui.Quote(m.source), err)
	}
	src, err := os.Stat(source)
	if err != nil {
		return ui.Failf("open source: %w", ui.PlainPath(err)).Hint("SRC is the directory with the *.cipher files")
	}
	if !src.IsDir() {
		return ui.Failf("open source %s: not a directory", ui.Quote(m.source)).Hint("SRC is the directory with the *.cipher files")
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
		return ui.Failf("open mountpoint: %w", ui.PlainPath(err)).Hint("create the directory first: mkdir -p %s", ui.Quote(m.point))
	}
	if there, ok, err := mount.At(point); err != nil {
		return err
	} else if ok && there.Type == mount.Type && errors.Is(unix.Statfs(point, new(unix.Statfs_t)), syscall.ENOTCONN) {
		control.Sweep(there, m.p.getenv)
		if err := mount.Unmount(point, true); err != nil { // its process has died
			return err
		}
	} else if ok && there.Type == mount.Type {
		return ui.Failf("mount %s: kmsfs is mounted there already", ui.Quote(m.point)).Hint("kmsfs umount %s", ui.Quote(m.point))
	}
	mnt, err := os.Stat(point)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return ui.Failf("open mountpoint: %w", ui.PlainPath(err)).Hint("create the directory first: mkdir -p %s", ui.Quote(m.point))
	case err != nil:
		return ui.Failf("open mountpoint: %w", ui.PlainPath(err))
	case !mnt.IsDir():
		return ui.Failf("open mountpoint %s: not a directory", ui.Quote(m.point))
	}
	if !m.Nonempty && !os.SameFile(src, mnt) {
		if empty, err := isEmpty(point); err != nil {
			return ui.Failf("open mountpoint: %w", ui.PlainPath(err))
		} else if !empty {
			return ui.Failf("mount %s: the directory is not empty", ui.Quote(m.point)).
				Hint("its files would be hidden; choose another mountpoint, or mount with -o nonempty")
		}
	}
	if err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK); err == syscall.EACCES && os.Geteuid() != 0 {
		return ui.Failf("open /dev/fuse: %w", err).
			Hint("other users than root may open it when its mode is 0666, as udev makes it: chmod 0666 /dev/fuse")
	} else if err != nil {
		return ui.Failf("open /dev/fuse: %w", err).Hint("load the module with: modprobe fuse; in a container, pass the device in")
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

// exactly demands the named arguments.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return ui.Usagef("read command line: %s is missing", names[len(args)]).Hint("usage: %s", cmd.UseLine())
		case len(args) > len(names):
			return ui.Usagef("read command line: unexpected %s", ui.Quote(args[len(names)])).Hint("usage: %s", cmd.UseLine())
		}
		return nil
	}
}
