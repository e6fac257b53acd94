package main

import (
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/manual"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

func manCommand(*program) *cobra.Command {
	return &cobra.Command{
		Use: "man " + manual.Program + "|" + manual.Helper, Hidden: true, Args: exactly("PAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case manual.Program:
				manual.WriteProgram(cmd.OutOrStdout(), cmd.Root(), version)
			case manual.Helper:
				manual.WriteHelper(cmd.OutOrStdout(), version)
			default:
				return ui.Usagef("print manual %s: there is none", ui.Quote(args[0])).Hint("%s and %s", manual.Program, manual.Helper)
			}
			return nil
		},
	}
}
