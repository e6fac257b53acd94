package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cache/secmem"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/mountpoint"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
)

// closerCommand is the process beside a server that has no holder.
func closerCommand() *cobra.Command {
	return &cobra.Command{
		Use: supervise.CloserName + " MNT", Hidden: true, Args: exactly("MNT"),
		RunE: func(*cobra.Command, []string) error {
			if err := secmem.ProtectProcess(); err != nil {
				return err
			}
			return supervise.Close()
		},
	}
}

// serviceCommand is the main process of kmsfs@.service, and the servers that it
// starts. It mounts nothing: premount does that, with root's privileges, and
// brings the mount to its door.
func serviceCommand(p *program) *cobra.Command {
	s, err := options.Defaults()
	var door string
	cmd := &cobra.Command{
		Use: "service SRC MNT", Hidden: true, Args: exactly("SRC", "MNT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case err != nil:
				return err
			case door == "":
				return ui.Usagef("read command line: --door is missing").Hint("this is the main process of kmsfs@.service")
			}
			m := &mounting{p: p, Settings: s, source: args[0], point: args[1], foreground: true}
			return m.runService(cmd.Context(), door)
		},
	}
	s.FromEnvironment(p.getenv, false)
	cmd.Flags().StringVar(&door, "door", "", "where premount brings the mount to")
	s.AddFlags(cmd.Flags(), true)
	return cmd
}

func (m *mounting) runService(ctx context.Context, door string) error {
	in, err := supervise.Inherit()
	if err != nil {
		return err
	}
	if m.directory, err = mountpoint.WorkingDirectory(m.source, m.point, m.CAFile, m.LogFile); err != nil {
		return err
	}
	device := in.Device
	switch {
	case in.Line != nil:
		device = in.Line.Device
	case device == nil:
		if err := secmem.ProtectProcess(); err != nil {
			return err
		}
		return supervise.HoldService(m.succession(), door, func() (string, error) { return mount.RealPoint(m.point) }, m.p.getenv)
	}
	if err := m.absolute(device); err != nil {
		return err
	}
	m.device = device // mounted by another process, which will unmount
	return m.serve(ctx, supervise.InheritReadiness(false), in)
}
