package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cache/secmem"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/daemon"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/keyservice"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/mountpoint"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
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
	if m.directory, err = mountpoint.WorkingDirectory(m.source, m.point, m.CAFile, m.LogFile); err != nil {
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

// absolute finds the place again that an earlier process has mounted with this
// device.
func (m *mounting) absolute(device *os.File) error {
	place, err := mountpoint.Standing(mountpoint.Place{Source: m.source, Point: m.point}, device)
	m.source, m.point, m.device = place.Source, place.Point, place.Device
	return err
}

// resolve finds the place, and checks what can be checked without doing anything.
func (m *mounting) resolve() error {
	if m.Fast && m.DirectIO {
		return ui.Usagef("read options: direct_io and open=fast exclude each other").
			Hint("open=checked keeps nothing in the kernel, which is what direct_io means")
	}
	place, err := mountpoint.Resolve(mountpoint.Place{Source: m.source, Point: m.point}, m.Nonempty, m.p.getenv)
	if err != nil {
		return err
	}
	m.source, m.point, m.device = place.Source, place.Point, place.Device
	if m.LogFile != "" && mountpoint.Hides(m.point, m.LogFile) {
		return ui.Failf("open log_file %s: it lies beneath the mountpoint", ui.Quote(m.LogFile)).
			Hint("a successor would wait for itself there")
	}
	return nil
}

// explainMount adds what to do about a mount that failed.
func (m *mounting) explainMount(err error) error {
	return mountpoint.Explain(err, m.device != nil, m.Shared)
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
