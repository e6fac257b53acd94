package kms

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"
)

// sameAnswer decrypts everything to the same text.
type sameAnswer string

func (a sameAnswer) Decrypt(context.Context, Blob, EncryptionContext) (*Decrypted, error) {
	return &Decrypted{Plaintext: []byte(a), Origin: Origin{KeyVersionID: "v"}}, nil
}

// whole is a file that holds one blob.
type whole struct{ Blob }

func (w whole) Under(func(string) bool) Ciphertext { return w }

// The size of a blob's secret is known as long as the secret is the plaintext
// itself.
func TestBlobIsACiphertext(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString([]byte("secret"))
	text := base64.StdEncoding.EncodeToString(make([]byte, 64+len(secret)))
	var c Ciphertext = whole{Blob{Text: text, KeyVersionID: "v", PlaintextSize: len(secret)}}
	if c.Refusal() != nil || c.Size(Raw) != len(secret) || c.Size(Base64) != UnknownSize || c.KeyVersion() != "v" {
		t.Errorf("%v, %d and %d bytes, version %q", c.Refusal(), c.Size(Raw), c.Size(Base64), c.KeyVersion())
	}
	if kind, own := c.Identity(); kind != "direct" || own != text {
		t.Errorf("%q, %q", kind, own)
	}
	for encoding, want := range map[Encoding]string{Raw: secret, Base64: "secret"} {
		if o, err := c.Open(t.Context(), sameAnswer(secret), nil, encoding); err != nil || string(o.Secret) != want || o.KeyVersionID != "v" {
			t.Errorf("%v: %q, %v", encoding, o.Secret, err)
		}
	}
	if _, err := c.Open(t.Context(), sameAnswer("short"), nil, Raw); !errors.Is(err, ErrBadAnswer) {
		t.Errorf("another number of bytes: %v", err)
	}
}

// What is no ciphertext is a kind that nobody opens, and no service is asked.
func TestNotCiphertextIsACiphertext(t *testing.T) {
	var c Ciphertext = &NotCiphertext{Reason: "empty"}
	if c.Refusal() == nil || c.Size(Raw) != UnknownSize || c.KeyVersion() != "" || c.Under(func(string) bool { return true }) != c {
		t.Errorf("%+v", c)
	}
	if _, err := c.Open(t.Context(), nil, nil, Raw); !errors.Is(err, ErrBadCiphertext) {
		t.Errorf("opened: %v", err)
	}
}
