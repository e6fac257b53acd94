package main

import (
	"errors"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
)

func umountCommand(p *program) *cobra.Command {
	var lazy bool
	cmd := &cobra.Command{
		Use:   "umount MNT",
		Short: "Unmount",
		Long: `umount ends a mount that kmsfs made. The process that serves it forgets all
plaintext and ends. That is so also where the mount is visible elsewhere,
through a bind mount or in another mount namespace: there it is dead. While a
file is open here, umount changes nothing and says so; with --lazy no path leads
to the mount any more, and it ends with its last open file.`,
		Args: exactly("MNT"),
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := p.mounted("unmount", args[0])
			if err != nil {
				return err
			}
			control.Sweep(m.Entry, p.getenv)
			if err := unmount(m.Entry, lazy, p.warn); errors.Is(err, syscall.EBUSY) {
				return ui.Failf("%w", err).Hint("see who uses it with: fuser -vm %s; "+
					"or detach it now and let it end with its last open file: --lazy", ui.Quote(args[0]))
			} else if err != nil {
				return err
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&lazy, "lazy", "l", false, "detach at once, and end with the last open file")
	return cmd
}

// unmount detaches a mount here and ends its connection, unless lazy, so that
// it is over in every other place that has it.
func unmount(m mount.Entry, lazy bool, warn func(string)) error {
	if lazy {
		return mount.Unmount(m.Point, true)
	}
	connection, unknown := m.Connection()
	if unknown == nil {
		defer connection.Close()
	}
	if err := mount.Unmount(m.Point, false); err != nil {
		return err
	}
	if unknown != nil {
		warn("it may go on in a bind mount or another mount namespace: " + unknown.Error())
		return nil
	}
	return connection.Abort()
}
