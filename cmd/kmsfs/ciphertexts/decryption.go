package ciphertexts

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
)

// Decryption opens one file.
type Decryption struct {
	Streams
	*options.Settings
	Output string // a new file; empty or -: standard d.Output
	Source string // with BindNames: the directory that is mounted

	// Connect is called once, when there is something to decrypt.
	Connect func() (*Decrypter, error)
}

// Decrypter is the key service, for one command.
type Decrypter struct {
	kms.Decrypter
	Close func()
}

// Run decrypts the file that is named, - for standard input.
func (d *Decryption) Run(ctx context.Context, file string) error {
	ec, err := contextFor(d.Settings, d.Source, file)
	if err != nil {
		return err
	}
	toStdout := d.Output == "" || d.Output == "-"
	if !toStdout {
		switch st, err := os.Lstat(d.Output); {
		case err == nil && !st.Mode().IsRegular():
			return ui.Failf("decrypt %s: %s is not a regular file", ui.Quote(file), ui.Quote(d.Output)).Hint("give - for standard d.Output")
		case err == nil:
			return exists("decrypt", file, d.Output)
		}
	}
	ciphertext, err := readSecret(d.In, file, kms.MaxBlobFile)
	if err != nil {
		return ui.Failf("decrypt %s: %w", ui.Quote(file), ui.Cause(err))
	}
	sealed := blobs.Recogniser{}.Recognise(ciphertext)
	if not := sealed.Refusal(); not != nil {
		f := ui.Failf("decrypt %s: %w", ui.Quote(file), not)
		if file != "-" && !strings.HasSuffix(file, source.Suffix) {
			return f.Hint("is %s meant?", ui.Quote(file+source.Suffix))
		}
		return f.Hint("the file must hold one CiphertextBlob and nothing else: "+
			"aliyun kms Encrypt … | jq -rj .CiphertextBlob >%s", fileArgument(file))
	}
	by, err := d.Connect()
	if err != nil {
		return err
	}
	defer by.Close()
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	o, err := sealed.Open(ctx, by, ec, d.Encoding)
	secret := o.Secret
	defer clear(secret)
	if err != nil {
		return ui.Failf("decrypt %s: %w", ui.Quote(file), err)
	}
	for _, note := range o.Notes {
		d.warn(ui.ASCIIName(file) + ": " + note.Text)
	}
	if toStdout {
		_, err := d.Out.Write(secret)
		return err
	}
	if err := createPrivate(d.Output, secret); errors.Is(err, os.ErrExist) {
		return exists("decrypt", file, d.Output)
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
