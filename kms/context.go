package kms

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// MaxContext is the longest encryption context as JSON, in characters
	// (a limit of the service).
	MaxContext = 8192

	// NameKey is the context key that binds a ciphertext to its name.
	NameKey = "kmsfs-name"

	// reserved begins the context keys that only kmsfs itself sets. A
	// blob that it made for another purpose can thereby never be read as
	// a file.
	reserved = "kmsfs"
)

// ParseContext reads an encryption context as options and flags give it:
// name=value pairs separated by semicolons. A value may hold "=".
func ParseContext(s string) (EncryptionContext, error) {
	ec := EncryptionContext{}
	for pair := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(pair, "=")
		switch {
		case !ok || name == "":
			return nil, errors.New("not of the form name=value;name=value")
		case !utf8.ValidString(pair):
			return nil, errors.New("not UTF-8")
		case strings.HasPrefix(strings.ToLower(name), reserved):
			return nil, fmt.Errorf("names that begin with %q are reserved", reserved)
		}
		if _, twice := ec[name]; twice {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		ec[name] = value
	}
	if err := ec.check(); err != nil {
		return nil, err
	}
	return ec, nil
}

// Bind returns the context with the name of the file it is for, in place of
// which no other file's ciphertext can then be put. name is the path as the
// mount shows it, relative to the mount.
func (ec EncryptionContext) Bind(name string) (EncryptionContext, error) {
	if !utf8.ValidString(name) {
		return nil, errors.New("the name is not UTF-8 and cannot be bound")
	}
	bound := EncryptionContext{NameKey: name}
	for k, v := range ec {
		bound[k] = v
	}
	return bound, bound.check()
}

func (ec EncryptionContext) check() error {
	b, err := json.Marshal(ec)
	if err != nil {
		return err
	}
	if n := utf8.RuneCount(b); n > MaxContext {
		return fmt.Errorf("%d characters long, at most %d are possible", n, MaxContext)
	}
	return nil
}
