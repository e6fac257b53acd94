package kms

import "context"

// Ciphertext is what the bytes of a .cipher file are. Each kind of file is an
// implementation of its own, and so is what is none (NotCiphertext): whoever has
// one asks for what it needs, and not of which kind it is. Implementations never
// change; they are safe for concurrent use, and quick but for Open.
type Ciphertext interface {
	// Refusal is why nobody can open it, as far as its form tells; nil for what
	// may be opened.
	Refusal() *NotCiphertext
	// Size is that of the secret in bytes, exactly, or UnknownSize as long as
	// only Open can tell.
	Size(encoding Encoding) int
	// Identity is what decides the secret, besides the encryption context and
	// the encoding: the kind, and what the file has of its own.
	Identity() (kind, text string)
	// KeyVersion names the key that encrypted it, for the log, and for what a
	// refusal of that key ends. It is empty as long as only the service knows.
	KeyVersion() string
	// Under is the same seen as one of a key version that answers have named: it
	// may have a Size and a KeyVersion then.
	Under(known func(version string) bool) Ciphertext
	// Open decrypts it, checks the answer against it and decodes the secret. Of
	// an error the Origin is known as far as an answer came.
	Open(ctx context.Context, by Decrypter, ec EncryptionContext, encoding Encoding) (Opened, error)
}

// Recogniser tells what a .cipher file holds. How that is laid out is the
// service's matter, so whoever speaks to it brings one. It is quick, knows nothing
// but its argument, and is safe for concurrent use.
type Recogniser interface {
	Recognise(file []byte) Ciphertext
}

// NotCiphertext is the Ciphertext of a file that holds none: what it is instead,
// as far as it can be told from its form, and what to do about it. It is an error
// as well.
//
// INVARIANT: Reason quotes nothing of the file.
type NotCiphertext struct {
	Reason string
	// Exposed says that the file is a secret which was never encrypted.
	Exposed bool
}

var _ Ciphertext = (*NotCiphertext)(nil)

// Error is the same in the log of a mount and from every command.
func (e *NotCiphertext) Error() string { return "not a ciphertext: " + e.Reason }

// Refusal is itself.
func (e *NotCiphertext) Refusal() *NotCiphertext { return e }

// Size is unknown, since there is no secret.
func (e *NotCiphertext) Size(Encoding) int { return UnknownSize }

// Identity decides nothing.
func (e *NotCiphertext) Identity() (kind, text string) { return "none", "" }

// KeyVersion is empty.
func (e *NotCiphertext) KeyVersion() string { return "" }

// Under is itself: no key opens it.
func (e *NotCiphertext) Under(func(string) bool) Ciphertext { return e }

// Open asks nobody.
func (e *NotCiphertext) Open(context.Context, Decrypter, EncryptionContext, Encoding) (Opened, error) {
	return Opened{}, &Error{Class: ErrBadCiphertext, Action: "Decrypt", Detail: e.Error()}
}
