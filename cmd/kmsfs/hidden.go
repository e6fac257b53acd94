package main

import (
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cache/secmem"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
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
