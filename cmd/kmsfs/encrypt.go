package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ciphertexts"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

func encryptCommand(p *program) *cobra.Command {
	s, deferr := options.Defaults()
	e := &ciphertexts.Encryption{Streams: p.streams(), Settings: s}
	cmd := &cobra.Command{
		Use:   "encrypt --key KEY FILE…|-",
		Short: "Encrypt files into *.cipher files",
		Long: `encrypt lets the service encrypt each FILE under a key and writes the
ciphertext to FILE.cipher: the CiphertextBlob as text and nothing else, the
same as aliyun kms Encrypt gives. - reads standard input; its ciphertext goes
to --output, or to standard output.

The service takes text (UTF-8) of at most 6144 bytes; with --encoding base64
any bytes, at most 4608. An existing file is kept unless --force is given; what
replaces it has its owner, permissions and ACL. The plaintext file is not
removed; better it never exists:
openssl genpkey … | kmsfs encrypt --key … --output key.pem.cipher -

Of many files, a few are encrypted at a time, and throttling is waited out. A
file that cannot be encrypted does not keep the others from it; when the service
cannot be reached or refuses the key or the credentials, no further file is
begun. Ctrl-C leaves whole files only. --missing goes on where a run has ended:
it passes over what has a ciphertext that is no older, and over *.cipher.`,
		Example: `  kmsfs encrypt --key alias/Apollo/WorkKey certs/key.pem
  openssl genpkey -algorithm RSA | kmsfs encrypt --key alias/Apollo/WorkKey --output certs/key.pem.cipher -
  kmsfs encrypt --key alias/Apollo/WorkKey --recursive --missing certs`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return ui.Usagef("read command line: FILE is missing").Hint("usage: %s", cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if deferr != nil {
				return deferr
			}
			if cmd.Flags().Changed("output") && e.Output == "" {
				return ui.Usagef("read option --output: empty").Hint("name a file, or - for standard output")
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return e.Run(ctx, args)
		},
	}
	e.Connect = func() (*ciphertexts.Encrypter, error) { return p.encrypter(s) }
	s.FromEnvironment(p.getenv, false)
	cmd.Flags().StringVarP(&e.Key, "key", "k", "", "key id, ARN, or alias/… (required)")
	cmd.Flags().StringVar(&e.Output, "output", "", "where the ciphertext goes, for a single FILE; - is standard output")
	cmd.Flags().StringVar(&e.Source, "source", "", "with --bind name: the directory that will be mounted")
	cmd.Flags().BoolVarP(&e.Recursive, "recursive", "r", false, "encrypt the regular files beneath a directory, other than *.cipher")
	cmd.Flags().BoolVar(&e.Missing, "missing", false, "encrypt only what has no ciphertext, or an older one")
	cmd.Flags().BoolVar(&e.Force, "force", false, "replace an existing file, and encrypt also what is a ciphertext already")
	s.AddFlags(cmd.Flags(), false, "qps")
	return cmd
}

// untilSignal ends with the signals that mean to end the process. The second one
// does.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ends := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, ends...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
