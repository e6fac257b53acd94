package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
)

func decryptCommand(p *program) *cobra.Command {
	s, deferr := options.Defaults()
	var output, root string
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
			return decrypt(cmd.Context(), p, s, args[0], root, output)
		},
	}
	s.FromEnvironment(p.getenv, false)
	cmd.Flags().StringVar(&output, "output", "", "write the plaintext to a new file")
	cmd.Flags().StringVar(&root, "source", "", "with --bind name: the directory that is mounted")
	s.AddFlags(cmd.Flags(), false)
	return cmd
}

func decrypt(ctx context.Context, p *program, s *options.Settings, file, root, output string) error {
	ec, err := contextFor(s, root, file)
	if err != nil {
		return err
	}
	toStdout := output == "" || output == "-"
	if !toStdout {
		switch st, err := os.Lstat(output); {
		case err == nil && !st.Mode().IsRegular():
			return ui.Failf("decrypt %s: %s is not a regular file", ui.Quote(file), ui.Quote(output)).Hint("give - for standard output")
		case err == nil:
			return exists("decrypt", file, output)
		}
	}
	ciphertext, err := readSecret(p, file, kms.MaxBlobFile)
	if err != nil {
		return ui.Failf("decrypt %s: %w", ui.Quote(file), ui.Cause(err))
	}
	blob, err := blobs.Recogniser{}.Recognise(ciphertext)
	if err != nil {
		f := ui.Failf("decrypt %s: %w", ui.Quote(file), err)
		if file != "-" && !strings.HasSuffix(file, source.Suffix) {
			return f.Hint("is %s meant?", ui.Quote(file+source.Suffix))
		}
		return f.Hint("the file must hold one CiphertextBlob and nothing else: aliyun kms Encrypt … | jq -rj .CiphertextBlob >%s", fileArgument(file))
	}
	client, err := p.verbClient(s)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	o, err := kms.Open(ctx, client, blob, ec, s.Encoding)
	secret := o.Secret
	defer clear(secret)
	if err != nil {
		return ui.Failf("decrypt %s: %w", ui.Quote(file), err)
	}
	for _, note := range o.Notes {
		p.warn(ui.ASCIIName(file) + ": " + note.Text)
	}
	if toStdout {
		_, err := p.stdout.Write(secret)
		return err
	}
	if err := createPrivate(output, secret); errors.Is(err, os.ErrExist) {
		return exists("decrypt", file, output)
	} else if err != nil {
		return ui.Failf("decrypt %s: write: %w", ui.Quote(file), ui.Cause(err))
	}
	return nil
}

// fileArgument is a ciphertext file in an example.
func fileArgument(file string) string {
	if file == "-" {
		return "FILE" + source.Suffix
	}
	return ui.Quote(file)
}
