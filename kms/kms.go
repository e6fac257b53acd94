package kms

import (
	"context"
	"time"
)

// Decrypter turns one ciphertext blob back into its plaintext.
//
// Decrypt sends ec as the encryption context; nil means none. It returns when
// ctx ends at the latest, then with an error for which errors.Is(err,
// ctx.Err()) holds. Every error is free of plaintext, ciphertext, tokens,
// signatures and URLs, and belongs to one class of errors.go.
// Implementations are safe for concurrent use.
type Decrypter interface {
	Decrypt(ctx context.Context, blob Blob, ec EncryptionContext) (*Decrypted, error)
}

// Encrypter turns one plaintext into a ciphertext blob under the named key.
//
// keyID is a key id, an ARN or an alias (alias/…), as the service accepts
// them. plaintext must be valid UTF-8, 1 to MaxPlaintext bytes; Encrypt
// keeps no reference to it. Context and errors are as for Decrypter.
type Encrypter interface {
	Encrypt(ctx context.Context, keyID string, plaintext []byte, ec EncryptionContext) (*Encrypted, error)
}

// EncryptionContext is the set of name=value pairs that the service
// authenticates with a ciphertext (the additional data of AES-GCM). It is not
// stored in the blob and not secret: it may appear in the service's audit log.
// A nil or empty map means that no context is sent.
type EncryptionContext map[string]string

// Origin says which key produced or opened a ciphertext, and in which call.
type Origin struct {
	KeyID        string // the resolved key id, never an alias
	KeyVersionID string // the version that holds the key material
	RequestID    string // the service's own name for the call
}

// Decrypted is the answer to Decrypt. The caller owns Plaintext and calls
// Wipe as soon as it has no more use for it.
type Decrypted struct {
	Plaintext []byte
	Asked     time.Time // when the request began; zero: who knows
	Origin
	Notes []Note // what somebody should know although the answer is good
}

// Wipe overwrites the plaintext with zeros and drops it.
func (d *Decrypted) Wipe() {
	clear(d.Plaintext)
	d.Plaintext = nil
}

// Encrypted is the answer to Encrypt. Blob is the text a .cipher file holds.
type Encrypted struct {
	Blob string
	Origin
}
