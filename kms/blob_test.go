package kms

import (
	"bytes"
	"encoding/base64"
	"errors"
	"testing"
)

func TestCheck(t *testing.T) {
	b := Blob{Text: base64.StdEncoding.EncodeToString(make([]byte, 69)), KeyVersionID: "v", PlaintextSize: 5}
	ok := func() *Decrypted {
		return &Decrypted{Plaintext: []byte("12345"), Origin: Origin{KeyID: "k", KeyVersionID: "v", RequestID: "r"}}
	}
	if err := b.Check(ok()); err != nil {
		t.Errorf("the right answer: %v", err)
	}
	for name, spoil := range map[string]func(*Decrypted){
		"longer":  func(d *Decrypted) { d.Plaintext = append(d.Plaintext, 'x') },
		"shorter": func(d *Decrypted) { d.Plaintext = d.Plaintext[:4] },
		"empty":   func(d *Decrypted) { d.Plaintext = nil },
	} {
		d := ok()
		spoil(d)
		if err := b.Check(d); !errors.Is(err, ErrBadAnswer) {
			t.Errorf("%s: %v, want ErrBadAnswer", name, err)
		}
	}
}

func TestWipe(t *testing.T) {
	p := []byte("secret")
	(&Decrypted{Plaintext: p}).Wipe()
	if !bytes.Equal(p, make([]byte, 6)) {
		t.Errorf("still there: %q", p)
	}
}
