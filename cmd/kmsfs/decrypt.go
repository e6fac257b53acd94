package main

import (
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ciphertexts"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
)

func decryptCommand(p *program) *cobra.Command {
	s, deferr := options.Defaults()
	d := &ciphertexts.Decryption{Streams: p.streams(), Settings: s}
	cmd := &cobra.Command{
		Use:   "decrypt FILE.cipher|-",
		Short: "Decrypt one file",
		Long: `decrypt lets the service decrypt a file that holds a CiphertextBlob and
prints the plaintext to standard output, byte for byte. - reads standard
input. With --output the plaintext is written to a new file, readable by its
owner only: then it is on the disk, which is what a mount avoids.`,
		Example: `  kmsfs decrypt certs/key.pem.cipher | openssl pkey -noout -check`,
		Args:    exactly("FILE.cipher"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if deferr != nil {
				return deferr
			}
			return d.Run(cmd.Context(), args[0])
		},
	}
	d.Connect = func() (*ciphertexts.Decrypter, error) { return p.decrypter(s) }
	s.FromEnvironment(p.getenv, false)
	cmd.Flags().StringVar(&d.Output, "output", "", "write the plaintext to a new file")
	cmd.Flags().StringVar(&d.Source, "source", "", "with --bind name: the directory that is mounted")
	s.AddFlags(cmd.Flags(), false)
	return cmd
}
