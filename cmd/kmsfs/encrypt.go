package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
	"github.com/kmsfs/kmsfs/kms/gate"
)

func encryptCommand(p *program) *cobra.Command {
	s, deferr := options.Defaults()
	e := &encrypting{p: p, Settings: s}
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
			if cmd.Flags().Changed("output") && e.output == "" {
				return ui.Usagef("read option --output: empty").Hint("name a file, or - for standard output")
			}
			return e.run(cmd.Context(), args)
		},
	}
	s.FromEnvironment(p.getenv, false)
	cmd.Flags().StringVarP(&e.key, "key", "k", "", "key id, ARN, or alias/… (required)")
	cmd.Flags().StringVar(&e.output, "output", "", "where the ciphertext goes, for a single FILE; - is standard output")
	cmd.Flags().StringVar(&e.source, "source", "", "with --bind name: the directory that will be mounted")
	cmd.Flags().BoolVarP(&e.recursive, "recursive", "r", false, "encrypt the regular files beneath a directory, other than *.cipher")
	cmd.Flags().BoolVar(&e.missing, "missing", false, "encrypt only what has no ciphertext, or an older one")
	cmd.Flags().BoolVar(&e.force, "force", false, "replace an existing file, and encrypt also what is a ciphertext already")
	s.AddFlags(cmd.Flags(), false, "qps")
	return cmd
}

// encrypting is one run of the encrypt command.
type encrypting struct {
	*options.Settings
	p         *program
	key       string
	output    string
	source    string
	recursive bool
	missing   bool
	force     bool
}

func (e *encrypting) run(ctx context.Context, args []string) error {
	switch {
	case e.key == "":
		return ui.Usagef("encrypt: no key").Hint("give --key with a key id or an alias such as alias/Apollo/WorkKey")
	case e.missing && e.force:
		return ui.Usagef("encrypt: --missing and --force exclude each other").
			Hint("--missing replaces a ciphertext that is older than its plaintext, --force every one")
	case e.output != "" && (len(args) > 1 || e.recursive):
		return ui.Usagef("encrypt: --output is for a single file").Hint("without --output each FILE becomes FILE.cipher")
	}
	client, err := e.p.verbClient(e.Settings)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, stop := untilSignal(ctx)
	defer stop()
	g := gate.New(client, gate.Config{QPS: e.QPS, Load: e.Timeout})
	e.Repeat = g.Token
	return e.batch(client, g, e.tasks(args), len(args) > 1 || e.recursive).run(ctx)
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

// seal makes a ciphertext of what is to be encrypted.
type seal func(ctx context.Context, plaintext []byte, ec kms.EncryptionContext) (*kms.Encrypted, error)

// one does one task. What can be seen beforehand costs no call.
func (e *encrypting) one(ctx context.Context, t *task, by seal) error {
	if t.err != nil {
		return e.failed(t, t.err)
	}
	if !t.toStdout() {
		if err := checkDestination(t.out, t.replace); err != nil {
			return e.failed(t, err)
		}
	}
	ec, err := contextFor(e.Settings, e.source, t.out)
	if err != nil {
		return err
	}
	longest := e.Encoding.MaxSecret()
	secret, err := readWithin(ctx, e.p, t, longest)
	defer clear(secret)
	if err != nil {
		return e.failed(t, ui.Cause(err))
	}
	if err := e.check(secret, longest); err != nil {
		return e.failed(t, err)
	}
	plaintext := e.Encoding.Encode(secret)
	defer clear(plaintext)
	c, err := by(ctx, plaintext, ec)
	if err != nil {
		return e.failed(t, err)
	}
	if t.changed() {
		return ui.Failf("encrypt %s: it was changed meanwhile", ui.Quote(t.file)).Hint("run again, when nobody writes to it")
	}
	if t.toStdout() {
		if _, err := io.WriteString(e.p.stdout, c.Blob+lineEnd(e.p.stdout)); err != nil {
			return e.failed(t, err)
		}
		return nil
	}
	lost, err := writeNew(t.out, []byte(c.Blob), t.replace, kernelNaming)
	if errors.Is(err, os.ErrExist) {
		return e.failed(t, errTaken)
	} else if err != nil {
		return ui.Failf("encrypt %s: write: %w", ui.Quote(t.file), ui.Cause(err))
	}
	t.lost = lost
	return nil
}

// check says what of a secret the service would not take.
func (e *encrypting) check(secret []byte, longest int) error {
	sealed := false
	if !e.force {
		// One that names a key version: other base64 may be a secret.
		blob, err := blobs.Recogniser{}.Recognise(secret)
		sealed = err == nil && blobs.NamesVersion(blob)
	}
	switch {
	case len(secret) == 0:
		return ui.Failf("it is empty").Hint("the service encrypts at least one byte")
	case sealed:
		return errSealed
	case len(secret) > longest:
		return ui.Failf("longer than %d bytes", longest).Hint("the service encrypts no more than that in one piece; split the file, or keep only its secret part here")
	case e.Encoding != kms.Base64 && !utf8.Valid(secret):
		return ui.Failf("not UTF-8 text").Hint("the service takes text only; encrypt with --encoding base64, and mount with the option encoding=base64")
	}
	return nil
}

// failed is the message about a task, with what the error knows to do about it.
func (e *encrypting) failed(t *task, err error) error {
	switch {
	case err == errTaken:
		return exists("encrypt", t.file, t.out)
	case err == errSealed:
		return ui.Failf("encrypt %s: %w", ui.Quote(t.file), err).Hint("--force would encrypt it once more")
	}
	f := ui.Failf("encrypt %s: %w", ui.Quote(t.file), err)
	if inner, ok := errors.AsType[*ui.Failure](err); ok {
		f.Tip, f.Class = inner.Tip, inner.Class
	}
	return f
}

func exists(verb, file, out string) error {
	f := ui.Failf("%s %s: %s exists", verb, ui.Quote(file), ui.Quote(out))
	if verb == "encrypt" {
		return f.Hint("choose another --output, or replace it with --force")
	}
	return f.Hint("choose another --output, or remove it first")
}
