package main

import (
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ciphertexts"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/keyservice"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/kms/aliyun"
	"github.com/kmsfs/kmsfs/kms/gate"
)

// verbClient is the client of a command that makes its calls and ends. What a mount
// warns of once, a command would repeat at every call of a script: it is said
// when it is asked for.
func (p *program) verbClient(s *options.Settings) (*aliyun.Client, error) {
	s.AllowEmulator = p.getenv("KMSFS_ALLOW_EMULATOR") == "1"
	c, err := keyservice.Client(s, p.getenv, nil)
	if err != nil {
		return nil, err
	}
	if s.Verbose {
		for _, w := range c.Warnings() {
			p.warn(w)
		}
	}
	return c, nil
}

// encrypter is the client of encrypt, with its gate.
func (p *program) encrypter(s *options.Settings) (*ciphertexts.Encrypter, error) {
	client, err := p.verbClient(s)
	if err != nil {
		return nil, err
	}
	g := gate.New(client, gate.Config{QPS: s.QPS, Load: s.Timeout})
	s.Repeat = g.Token
	return &ciphertexts.Encrypter{Encrypter: client, Gate: g, Close: client.Close}, nil
}

// decrypter is the client of decrypt, which makes one call.
func (p *program) decrypter(s *options.Settings) (*ciphertexts.Decrypter, error) {
	client, err := p.verbClient(s)
	if err != nil {
		return nil, err
	}
	return &ciphertexts.Decrypter{Decrypter: client, Close: client.Close}, nil
}

// guardedDecrypter is the client of verify, guarded as that of a mount is.
func (p *program) guardedDecrypter(s *options.Settings) (*ciphertexts.Decrypter, error) {
	client, err := p.verbClient(s)
	if err != nil {
		return nil, err
	}
	guarded, _, err := keyservice.Guard(s, client)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &ciphertexts.Decrypter{Decrypter: guarded, Close: client.Close}, nil
}
