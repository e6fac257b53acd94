package ciphertexts

import (
	"context"
	"errors"
	"io"
	"os"
	"unicode/utf8"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
	"github.com/kmsfs/kmsfs/kms/gate"
)

// Encryption makes ciphertexts of files.
type Encryption struct {
	Streams
	*options.Settings
	Key       string // id, ARN, or alias/…
	Output    string // for a single file; - is standard output, empty beside it
	Source    string // with BindNames: the directory that will be mounted
	Recursive bool   // the regular files beneath a directory
	Missing   bool   // only what has no ciphertext, or an older one
	Force     bool   // also what is a ciphertext already, and in place of another

	// Connect is called once, when the command line is known to make sense.
	Connect func() (*Encrypter, error)
}

// Encrypter is the key service with the gate before its calls.
type Encrypter struct {
	kms.Encrypter
	Gate  *gate.Gate
	Close func()
}

// Run encrypts the files that are named, - for standard input.
func (e *Encryption) Run(ctx context.Context, files []string) error {
	switch {
	case e.Key == "":
		return ui.Usagef("encrypt: no key").Hint("give --key with a key id or an alias such as alias/Apollo/WorkKey")
	case e.Missing && e.Force:
		return ui.Usagef("encrypt: --missing and --force exclude each other").
			Hint("--missing replaces a ciphertext that is older than its plaintext, --force every one")
	case e.Output != "" && (len(files) > 1 || e.Recursive):
		return ui.Usagef("encrypt: --output is for a single file").Hint("without --output each FILE becomes FILE.cipher")
	}
	by, err := e.Connect()
	if err != nil {
		return err
	}
	defer by.Close()
	return e.batch(by.Encrypter, by.Gate, e.tasks(files), len(files) > 1 || e.Recursive).run(ctx)
}

// seal makes a ciphertext of what is to be encrypted.
type seal func(ctx context.Context, plaintext []byte, ec kms.EncryptionContext) (*kms.Encrypted, error)

// one does one task. What can be seen beforehand costs no call.
func (e *Encryption) one(ctx context.Context, t *task, by seal) error {
	if t.err != nil {
		return e.failed(t, t.err)
	}
	if !t.toStdout() {
		if err := checkDestination(t.out, t.replace); err != nil {
			return e.failed(t, err)
		}
	}
	ec, err := contextFor(e.Settings, e.Source, t.out)
	if err != nil {
		return err
	}
	longest := e.Encoding.MaxSecret()
	secret, err := readWithin(ctx, e.In, t, longest)
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
		if _, err := io.WriteString(e.Out, c.Blob+lineEnd(e.Out)); err != nil {
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
func (e *Encryption) check(secret []byte, longest int) error {
	sealed := !e.Force && blobs.IsSealed(secret) // by the key version: other base64 may be a secret
	switch {
	case len(secret) == 0:
		return ui.Failf("it is empty").Hint("the service encrypts at least one byte")
	case sealed:
		return errSealed
	case len(secret) > longest:
		return ui.Failf("longer than %d bytes", longest).
			Hint("the service encrypts no more than that in one piece; split the file, or keep only its secret part here")
	case e.Encoding != kms.Base64 && !utf8.Valid(secret):
		return ui.Failf("not UTF-8 text").
			Hint("the service takes text only; encrypt with --encoding base64, and mount with the option encoding=base64")
	}
	return nil
}

// failed is the message about a task, with what the error knows to do about it.
func (e *Encryption) failed(t *task, err error) error {
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

// lineEnd ends a line on a terminal; a file gets the text alone.
func lineEnd(w io.Writer) string {
	if ui.IsTerminal(w) {
		return "\n"
	}
	return ""
}
