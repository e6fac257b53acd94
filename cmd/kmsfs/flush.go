package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

func flushCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "flush MNT [PATH…]",
		Short: "Forget the plaintext of a mount, or of some of its files",
		Long: `flush makes the process that serves MNT forget plaintext before its TTL ends:
of all files, or of those named and of all beneath a directory that is named.
Pages that the kernel keeps for mappings go, too. What is read next is
decrypted anew, also through a descriptor that was open before.

A PATH is relative to MNT, or absolute and beneath it. One flush per second is
possible.`,
		Example: `  kmsfs flush /run/certs
  kmsfs flush /run/certs key.pem
  kmsfs flush /run/certs /run/certs/site`,
		Args: func(cmd *cobra.Command, args []string) error {
			return exactly("MNT")(cmd, args[:min(1, len(args))])
		},
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := p.mounted("flush", args[0])
			if err != nil {
				return err
			}
			r, err := flushRequest(args[0], m.Point, args[1:])
			if err != nil {
				return err
			}
			a, err := control.Call(m, r)
			if err != nil {
				return err
			}
			if a.Flush == nil {
				return ui.Failf("flush %s: the answer is not of this version", ui.Quote(args[0]))
			}
			_, err = fmt.Fprintf(p.stdout, "forgotten: %d\n", a.Flush.Plaintexts)
			return err
		},
	}
}

// flushRequest makes paths relative to a mount, by their text alone. mnt is
// how the user wrote the mountpoint, point how the mount table does.
func flushRequest(mnt, point string, paths []string) (control.Request, error) {
	r := control.Request{Verb: control.VerbFlush}
	if len(paths) > control.MaxFlushPaths {
		return r, ui.Usagef("flush %s: more than %d paths", ui.Quote(mnt), control.MaxFlushPaths).
			Hint("name a directory, or nothing for all files")
	}
	for _, path := range paths {
		rel, ok := beneath(mnt, point, path)
		if !ok {
			return r, ui.Usagef("flush %s: %s is not beneath it", ui.Quote(mnt), ui.Quote(path)).
				Hint("a PATH is relative to MNT, or absolute")
		}
		r.Paths = append(r.Paths, []byte(rel))
	}
	return r, nil
}

func beneath(mnt, point, path string) (rel string, ok bool) {
	if path == "" || strings.ContainsRune(path, 0) {
		return "", false
	}
	if !filepath.IsAbs(path) {
		return filepath.Clean(path), filepath.IsLocal(path)
	}
	typed, err := filepath.Abs(mnt)
	if err != nil {
		return "", false
	}
	for _, top := range []string{point, typed} {
		if rel, err := filepath.Rel(top, path); err == nil && filepath.IsLocal(rel) {
			return rel, true
		}
	}
	return "", false
}
