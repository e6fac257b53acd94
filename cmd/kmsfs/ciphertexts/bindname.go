package ciphertexts

import (
	"path/filepath"
	"strings"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// contextFor is the encryption context of one file: with bind=name it has the
// name under which a mount of root shows the file.
func contextFor(s *options.Settings, root, file string) (kms.EncryptionContext, error) {
	if !s.BindNames {
		return s.Context, nil
	}
	if root == "" || file == "" || file == "-" {
		return nil, ui.Usagef("bind name: there is none to bind").
			Hint("bind=name needs the ciphertext's file, and with --source the directory that will be mounted")
	}
	dir, err := filepath.Abs(root)
	if err != nil {
		return nil, ui.Failf("bind name: %w", err)
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, ui.Failf("bind name: %w", err)
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(rel) {
		return nil, ui.Usagef("bind name: %s is not below %s", ui.Quote(file), ui.Quote(root)).
			Hint("--source is the directory that will be mounted")
	}
	ec, err := s.Context.Bind(strings.TrimSuffix(rel, source.Suffix))
	if err != nil {
		return nil, ui.Failf("bind name of %s: %w", ui.Quote(file), err)
	}
	return ec, nil
}
