package kms

import (
	"context"
	"time"
)

// Opened is the secret of a blob. The caller owns Secret and clears it.
type Opened struct {
	Secret []byte
	Asked  time.Time // as in Decrypted
	Origin
	// Notes are what somebody should know although the secret is good.
	Notes []Note
}

// Note is one sentence about a file, without a byte of its secret, and of which
// kind the sentence is.
type Note struct{ Kind, Text string }

// Open decrypts the blob, checks the answer against it and decodes the secret.
func (b Blob) Open(ctx context.Context, by Decrypter, ec EncryptionContext, encoding Encoding) (Opened, error) {
	d, err := by.Decrypt(ctx, b, ec)
	if err != nil {
		return Opened{}, err
	}
	o := Opened{Asked: d.Asked, Origin: d.Origin}
	if err := b.Check(d); err != nil {
		d.Wipe()
		return o, err
	}
	o.Notes = d.Notes
	if encoding == Raw && base64OfPEM(d.Plaintext) {
		o.Notes = append(o.Notes, Note{"base64", "this is base64 of a PEM: encoding=auto serves the PEM itself"})
	}
	o.Secret, err = encoding.Decode(d.Plaintext)
	return o, err
}
