package main

import (
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ciphertexts"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
)

func verifyCommand(p *program) *cobra.Command {
	s, deferr := options.Defaults()
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Decrypt every *.cipher file below a directory, and say which would fail",
		Long: `verify says of every *.cipher file below DIR, and of every link, what a mount of
DIR answers to a program that opens it. It walks DIR as a mount does, decrypts
each file once, a few at a time, and prints a line for each, sorted by name: ok
with the key and the key version, or with what a link leads to, or FAIL with the
reason. What is mounted on a file or a directory of DIR is out of a mount's
reach, and a FAIL. No plaintext is shown. The exit code is 1 if any line says
FAIL.`,
		Example: `  kmsfs verify /etc/nginx/certs`,
		Args:    exactly("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if deferr != nil {
				return deferr
			}
			v := &ciphertexts.Verification{Streams: p.streams(), Settings: s}
			v.Connect = func() (*ciphertexts.Decrypter, error) { return p.guardedDecrypter(s) }
			return v.Run(cmd.Context(), args[0])
		},
	}
	s.FromEnvironment(p.getenv, false)
	s.AddFlags(cmd.Flags(), false, "keys", "qps", "plain")
	return cmd
}
