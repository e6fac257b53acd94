package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/fs/session"
)

// premountCommand is what a service needs privileges for. It mounts, and
// leaves the kernel's end with systemd, which hands it to the sandboxed process
// that then serves: kmsfs mount SRC /dev/fd/3. When that process has ended,
// premount --undo unmounts, unless another one takes over: then premount has
// nothing to do.
func premountCommand(p *program) *cobra.Command {
	s, err := options.Defaults()
	var server, unit string
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
				return m.unmountStored(unit)
			}
			uid, err := options.ParseUser(server)
			if err != nil {
				return ui.Usagef("read option server: %w", err)
			}
			if goesOn, err := m.prepare(unit); err != nil || goesOn {
				return err
			}
			if err := m.resolve(); err != nil {
				return err
			}
			if err := m.apart(); err != nil {
				return err
			}
			device, err := mount.Spec{Source: m.source, Point: m.point, AllowOther: m.AllowOther, Shared: m.Shared}.Premount(uid)
			if err != nil {
				return m.explainMount(err)
			}
			defer device.Close()
			if err := supervise.Notify("FDSTORE=1\nFDNAME="+session.DeviceName, int(device.Fd())); err != nil {
				return errors.Join(ui.Failf("premount: %w", err), mount.Unmount(m.point, true))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "unmount after the service has ended")
	cmd.Flags().StringVar(&server, "server", "", "the user whose process will serve")
	cmd.Flags().StringVar(&unit, "unit", "", "the service")
	s.AddFlags(cmd.Flags(), true)
	return cmd
}

// prepare makes the mountpoint and an empty store, unless the mount is there
// and only waits for its next server. That one is not looked at.
func (m *mounting) prepare(unit string) (goesOn bool, err error) {
	state, err := supervise.AskSystemd(unit)
	if err != nil {
		return false, err
	}
	if there, err := m.stands(); err != nil || there && state.Complete() {
		return there, err
	}
	if err := supervise.EmptyStore(); err != nil {
		return false, ui.Failf("premount: %w", err)
	}
	if _, err := supervise.AskSystemd(unit); err != nil { // it has let go of them
		return false, err
	}
	if _, ok, err := mount.At(m.point); err != nil || ok {
		return false, err
	}
	if err := os.MkdirAll(m.point, 0o755); err != nil {
		return false, ui.Failf("make mountpoint: %w", ui.PlainPath(err))
	}
	return false, nil
}

// apart refuses a source that the mount would hide: the process that serves is
// another one, and would look for it through a mount that waits for itself.
func (m *mounting) apart() error {
	source, err := filepath.EvalSymlinks(m.source)
	if err != nil {
		return ui.Failf("open source: %w", ui.PlainPath(err))
	}
	if rel, err := filepath.Rel(m.point, source); err == nil && filepath.IsLocal(rel) {
		return ui.Failf("mount %s: the source %s lies beneath it", ui.Quote(m.point), ui.Quote(m.source)).Hint("a service needs another MNT, such as /run/certs")
	}
	return nil
}

// stands tells whether the source is mounted at the mountpoint, and looks at
// the mount table only.
func (m *mounting) stands() (bool, error) {
	source, err := filepath.Abs(m.source)
	if err != nil {
		return false, ui.Failf("open source %s: %w", ui.Quote(m.source), err)
	}
	point, err := mount.RealPoint(m.point)
	if err != nil {
		return false, nil // the directories above are not there
	}
	m.point = point
	there, ok, err := mount.At(point)
	return ok && there.Type == mount.Type && there.Source == source, err
}

// unmountStored ends the mount of a service whose process has ended, unless
// another one takes over. If the service's main process never ran and nothing
// is stored, it never mounted: what is there is not its own.
func (m *mounting) unmountStored(unit string) error {
	state, err := supervise.AskSystemd(unit)
	if err != nil {
		m.p.warn(err.Error() + "; it is unmounted")
	}
	if m.p.getenv("EXIT_CODE") == "" && state.Stored == 0 {
		return nil
	}
	if there, err := m.stands(); err == nil && there && state.GoesOn(m.p.getenv("SERVICE_RESULT")) {
		return nil
	}
	if err := supervise.EmptyStore(); err != nil {
		return ui.Failf("premount: %w", err)
	}
	point, err := mount.RealPoint(m.point)
	if err != nil {
		return ui.Failf("unmount: %w", ui.PlainPath(err))
	}
	there, ok, err := mount.At(point)
	if err != nil || !ok || there.Type != mount.Type {
		return err // it has been unmounted already
	}
	control.Sweep(there, m.p.getenv)
	return unmount(there, true, m.p.warn)
}
