package main

import (
	"errors"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/fs"
)

func umountCommand(p *program) *cobra.Command {
	var lazy bool
	cmd := &cobra.Command{
		Use:   "umount MNT",
		Short: "Unmount",
		Long: `umount ends a mount that kmsfs made. The process that serves it forgets all
plaintext and ends, unless the mount is visible elsewhere as well: through a
bind mount, or in another mount namespace. SIGTERM ends it there, too.`,
		Args: exactly("MNT"),
		RunE: func(_ *cobra.Command, args []string) error {
			point, err := realPoint(args[0])
			if err != nil {
				return failf("unmount %s: %w", quote(args[0]), cause(err))
			}
			m, ok, err := fs.MountAt(point)
			if err != nil {
				return err
			}
			if !ok || m.Type != fs.Type {
				return failf("unmount %s: kmsfs is not mounted there", quote(args[0])).hint("findmnt -t %s lists the mounts", fs.Type)
			}
			sweepControl(m, p.getenv)
			if err := fs.Unmount(point, lazy); errors.Is(err, syscall.EBUSY) {
				return failf("%w", err).hint("see who uses it with: fuser -vm %s; or detach it now and let it end with its last open file: --lazy", quote(args[0]))
			} else if err != nil {
				return err
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&lazy, "lazy", "l", false, "detach at once, and end with the last open file")
	return cmd
}
