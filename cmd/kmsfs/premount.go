package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/fs"
)

// storedName is the name of the kernel's end of a mount in systemd's store.
const storedName = "kmsfs-mount"

// premountCommand is what a service needs privileges for. It mounts, and
// leaves the kernel's end with systemd, which hands it to the sandboxed process
// that then serves: kmsfs mount SRC /dev/fd/3. With --undo it unmounts.
func premountCommand(p *program) *cobra.Command {
	s, err := defaults()
	var server string
	var undo bool
	cmd := &cobra.Command{
		Use: "premount SRC MNT", Hidden: true, Args: exactly("SRC", "MNT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case err != nil:
				return err
			case p.getenv("NOTIFY_SOCKET") == "":
				return failf("premount: systemd does not listen").hint("this is a step of kmsfs@.service")
			case undo:
				return p.unmountStored(args[1])
			}
			var uid uint32
			if err := owner("user", userNumber, func(*settings) *uint32 { return &uid })(s, server); err != nil {
				return usagef("read option server: %w", err)
			}
			m := &mounting{p: p, settings: s, source: args[0], point: args[1]}
			if err := m.resolve(); err != nil {
				return err
			}
			device, err := fs.Premount(fs.Config{Source: m.source, Mountpoint: m.point, AllowOther: m.allowOther, Shared: m.shared}, uid)
			if err != nil {
				return m.explainMount(err)
			}
			defer device.Close()
			if err := notify("FDSTORE=1\nFDNAME="+storedName, int(device.Fd())); err != nil {
				return errors.Join(failf("premount: %w", err), fs.Unmount(m.point, true))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "unmount after the service has ended")
	cmd.Flags().StringVar(&server, "server", "", "the user whose process will serve")
	s.addFlags(cmd.Flags(), true)
	return cmd
}

// unmountStored ends the mount of a service that has ended. If the service's
// main process never ran, neither did it mount: what is there is not its own.
func (p *program) unmountStored(point string) error {
	if p.getenv("EXIT_CODE") == "" {
		return nil
	}
	if err := notify("FDSTOREREMOVE=1\nFDNAME=" + storedName); err != nil {
		return failf("premount: %w", err)
	}
	point, err := realPoint(point)
	if err != nil {
		return failf("unmount: %w", plainPath(err))
	}
	m, ok, err := fs.MountAt(point)
	if err != nil || !ok || m.Type != fs.Type {
		return err // it has been unmounted already
	}
	sweepControl(m, p.getenv)
	return unmount(m, true, p.warn)
}
