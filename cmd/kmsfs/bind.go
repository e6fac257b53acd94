package main

import (
	"path/filepath"
	"strings"

	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// contextFor is the encryption context of one file: with bind=name it has the
// name under which a mount of root shows the file.
func (s *settings) contextFor(root, file string) (kms.EncryptionContext, error) {
	if !s.bind {
		return s.context, nil
	}
	if root == "" || file == "" || file == "-" {
		return nil, usagef("bind name: there is none to bind").
			hint("bind=name needs the ciphertext's file, and with --source the directory that will be mounted")
	}
	dir, err := filepath.Abs(root)
	if err != nil {
		return nil, failf("bind name: %w", err)
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, failf("bind name: %w", err)
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(rel) {
		return nil, usagef("bind name: %s is not below %s", quote(file), quote(root)).hint("--source is the directory that will be mounted")
	}
	ec, err := s.context.Bind(strings.TrimSuffix(rel, source.Suffix))
	if err != nil {
		return nil, failf("bind name of %s: %w", quote(file), err)
	}
	return ec, nil
}
