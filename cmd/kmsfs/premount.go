package main

import (
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/mountpoint"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
)

// premountCommand is what a service needs privileges for. When the service's main
// process stands by, premount mounts, or asks the server that an earlier main
// process has left, and brings what is to be served to the main process. When
// that has ended, premount --undo unmounts, unless another one follows.
//
// Whoever reads the mount, systemd above all, waits for its server alone: premount
// holds no descriptor of the mount while it waits, and asks systemd nothing
// between the mount and its first answer.
func premountCommand(p *program) *cobra.Command {
	s, err := options.Defaults()
	var server, unit, door string
	var undo bool
	cmd := &cobra.Command{
		Use: "premount SRC MNT", Hidden: true, Args: exactly("SRC", "MNT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case err != nil:
				return err
			case p.getenv("NOTIFY_SOCKET") == "":
				return ui.Failf("premount: systemd does not listen").Hint("this is a step of kmsfs@.service")
			}
			m := &mounting{p: p, Settings: s, source: args[0], point: args[1]}
			if undo {
				return m.service().Leave(unit)
			}
			return m.premount(server, door)
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "unmount after the service has ended")
	cmd.Flags().StringVar(&server, "server", "", "the user whose process will serve")
	cmd.Flags().StringVar(&unit, "unit", "", "the service")
	cmd.Flags().StringVar(&door, "door", "", "where its main process waits")
	s.AddFlags(cmd.Flags(), true)
	return cmd
}

// premount brings the main process what it shall serve.
func (m *mounting) premount(server, path string) error {
	uid, err := options.ParseUser(server)
	if err != nil {
		return ui.Usagef("read option server: %w", err)
	}
	main, _ := strconv.Atoi(m.p.getenv("MAINPID"))
	if main == 0 {
		return ui.Failf("premount: systemd names no main process")
	}
	door, err := supervise.KnockAt(path, main)
	if err != nil {
		return err
	}
	defer door.Close()
	service := m.service()
	if succeeded, err := service.Succeed(door); succeeded || err != nil {
		return err
	}
	service.EndOthers(main)
	if err := service.MakePoint(); err != nil {
		return err
	}
	if err := m.resolve(); err != nil {
		return err
	}
	if err := m.service().Apart(); err != nil {
		return err
	}
	spec := mount.Spec{Source: m.source, Point: m.point, AllowOther: m.AllowOther, Shared: m.Shared}
	device, err := spec.Premount(uid)
	if err != nil {
		return m.explainMount(err)
	}
	if err := door.BringDevice(device); err != nil {
		return errors.Join(err, mount.Unmount(m.point, true))
	}
	return nil
}

// service is this mount as a service's.
func (m *mounting) service() mountpoint.Service {
	return mountpoint.Service{Place: mountpoint.Place{Source: m.source, Point: m.point}, Getenv: m.p.getenv, Warn: m.p.warn}
}
