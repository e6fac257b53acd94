package main

import (
	"context"
	"errors"
	"io"
	"os"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/kms"
)

const cipherSuffix = ".cipher"

func encryptCommand(p *program) *cobra.Command {
	s, deferr := defaults()
	e := &encrypting{p: p, settings: s}
	cmd := &cobra.Command{
		Use:   "encrypt --key KEY FILE…|-",
		Short: "Encrypt files into *.cipher files",
		Long: `encrypt lets the service encrypt each FILE under a key and writes the
ciphertext to FILE.cipher: the CiphertextBlob as text and nothing else, the
same as aliyun kms Encrypt gives. - reads standard input; its ciphertext goes
to --output, or to standard output.

The service takes text (UTF-8) of at most 6144 bytes; with --encoding base64
any bytes, at most 4608. An existing file is kept unless --force is given. The
plaintext file is not removed; better it never exists:
openssl genpkey … | kmsfs encrypt --key … --output key.pem.cipher -`,
		Example: `  kmsfs encrypt --key alias/Apollo/WorkKey certs/key.pem
  openssl genpkey -algorithm RSA | kmsfs encrypt --key alias/Apollo/WorkKey --output certs/key.pem.cipher -`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("read command line: FILE is missing").hint("usage: %s", cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if deferr != nil {
				return deferr
			}
			return e.run(cmd.Context(), args)
		},
	}
	s.fromEnvironment(p.getenv, false)
	cmd.Flags().StringVarP(&e.key, "key", "k", "", "key id, ARN, or alias/… (required)")
	cmd.Flags().StringVar(&e.output, "output", "", "where the ciphertext goes, for a single FILE; - is standard output")
	cmd.Flags().StringVar(&e.source, "source", "", "with --bind name: the directory that will be mounted")
	cmd.Flags().BoolVar(&e.force, "force", false, "replace an existing file")
	s.addFlags(cmd.Flags(), false)
	return cmd
}

// encrypting is one run of the encrypt command.
type encrypting struct {
	*settings
	p      *program
	key    string
	output string
	source string
	force  bool
}

func (e *encrypting) run(ctx context.Context, files []string) error {
	if e.key == "" {
		return usagef("encrypt: no key").hint("give --key with a key id or an alias such as alias/Apollo/WorkKey")
	}
	if e.output != "" && len(files) > 1 {
		return usagef("encrypt: --output is for a single file").hint("without --output each FILE becomes FILE.cipher")
	}
	client, err := e.p.verbClient(e.settings)
	if err != nil {
		return err
	}
	defer client.Close()
	// One bad file does not keep the others from being encrypted.
	failed := 0
	for i, file := range files {
		err := e.one(ctx, client, file)
		if err == nil {
			continue
		}
		if failed++; i == len(files)-1 && failed == 1 {
			return err // printed by run
		}
		e.p.complain(err)
	}
	if failed > 0 {
		return exitError(verbCodes[ordinary])
	}
	return nil
}

func (e *encrypting) one(ctx context.Context, to kms.Encrypter, file string) error {
	out := e.output
	if out == "" && file != "-" {
		out = file + cipherSuffix
	}
	toStdout := out == "" || out == "-"
	if !toStdout {
		switch st, err := os.Lstat(out); {
		case err == nil && !st.Mode().IsRegular():
			return failf("encrypt %s: %s is not a regular file", quote(file), quote(out)).hint("give - for standard output, or the file that a link leads to")
		case err == nil && !e.force:
			return exists("encrypt", file, out)
		}
	}
	ec, err := e.contextFor(e.source, out)
	if err != nil {
		return err
	}
	longest := e.encoding.MaxSecret()
	secret, err := readSecret(e.p, file, longest)
	defer clear(secret)
	if err != nil {
		return failf("encrypt %s: %w", quote(file), cause(err))
	}
	switch {
	case len(secret) == 0:
		return failf("encrypt %s: it is empty", quote(file)).hint("the service encrypts at least one byte")
	case len(secret) > longest:
		return failf("encrypt %s: longer than %d bytes", quote(file), longest).hint("the service encrypts no more than that in one piece; split the file, or keep only its secret part here")
	case e.encoding == kms.Raw && !utf8.Valid(secret):
		return failf("encrypt %s: not UTF-8 text", quote(file)).hint("the service takes text only; encrypt with --encoding base64, and mount with the option encoding=base64")
	}
	plaintext := e.encoding.Encode(secret)
	defer clear(plaintext)
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	c, err := to.Encrypt(ctx, e.key, plaintext, ec)
	if err != nil {
		return failf("encrypt %s: %w", quote(file), err)
	}
	if toStdout {
		_, err := io.WriteString(e.p.stdout, c.Blob+lineEnd(e.p.stdout))
		return err
	}
	if err := writeNew(out, []byte(c.Blob), e.force); errors.Is(err, os.ErrExist) {
		return exists("encrypt", file, out)
	} else if err != nil {
		return failf("encrypt %s: write: %w", quote(file), cause(err))
	}
	return nil
}

func exists(verb, file, out string) error {
	f := failf("%s %s: %s exists", verb, quote(file), quote(out))
	if verb == "encrypt" {
		return f.hint("choose another --output, or replace it with --force")
	}
	return f.hint("choose another --output, or remove it first")
}
