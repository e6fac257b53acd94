package kms

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// Open decrypts a blob, checks the answer against it and decodes the secret.
// Of an error the Origin is known as far as an answer came.
func Open(ctx context.Context, by Decrypter, blob Blob, ec EncryptionContext, encoding Encoding) (Opened, error) {
	d, err := by.Decrypt(ctx, blob, ec)
	if err != nil {
		return Opened{}, doubted(blob, err)
	}
	o := Opened{Asked: d.Asked, Origin: d.Origin}
	if err := blob.Check(d); err != nil {
		d.Wipe()
		return o, err
	}
	if from := blob.Moved(d.Origin); from != "" {
		o.Notes = append(o.Notes, Note{"moved", fmt.Sprintf("the ciphertext names key version %s, the service answered with %s: a migrated key?", from, d.KeyVersionID)})
	}
	if encoding == Raw && base64OfPEM(d.Plaintext) {
		o.Notes = append(o.Notes, Note{"base64", "this is base64 of a PEM: encoding=auto serves the PEM itself"})
	}
	o.Secret, err = encoding.Decode(d.Plaintext)
	return o, err
}

// doubted adds to a refusal what the blob itself gives reason to doubt: in an
// unknown layout it may be no ciphertext of the service at all.
func doubted(blob Blob, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || blob.Layout != LayoutUnknown || blob.versionHead() != "" || !errors.Is(e, ErrKeyState) && !errors.Is(e, ErrBadCiphertext) {
		return err
	}
	doubtful := *e
	doubtful.Detail = strings.TrimPrefix(e.Detail+"; it does not begin with a key version id", "; ")
	doubtful.Hint = "is the file a CiphertextBlob of KMS at all, and whole?"
	return &doubtful
}
