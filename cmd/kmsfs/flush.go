package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

func flushCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "flush MNT [PATH…]",
		Short: "Forget the plaintext of a mount, or of some of its files",
		Long: `flush makes the process that serves MNT forget plaintext before its TTL ends:
of all files, or of those named and of all beneath a directory that is named.
Pages that the kernel keeps for mappings go, too. What is read next is
decrypted anew, also through a descriptor that was open before.

A PATH is relative to MNT, or absolute and beneath it. One flush per second is
possible.`,
		Example: `  kmsfs flush /run/certs
  kmsfs flush /run/certs key.pem
  kmsfs flush /run/certs /run/certs/site`,
		Args: func(cmd *cobra.Command, args []string) error {
			return exactly("MNT")(cmd, args[:min(1, len(args))])
		},
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := p.mounted("flush", args[0])
			if err != nil {
				return err
			}
			r, err := control.FlushRequest(args[0], m.Point, args[1:])
			if err != nil {
				return err
			}
			a, err := control.Call(m, r)
			if err != nil {
				return err
			}
			if a.Flush == nil {
				return ui.Failf("flush %s: the answer is not of this version", ui.Quote(args[0]))
			}
			_, err = fmt.Fprintf(p.stdout, "forgotten: %d\n", a.Flush.Plaintexts)
			return err
		},
	}
}
