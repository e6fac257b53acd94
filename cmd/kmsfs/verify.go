package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/kmsfs/kmsfs/kms"
)

func verifyCommand(p *program) *cobra.Command {
	s, deferr := defaults()
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Decrypt every *.cipher file below a directory, and say which would fail",
		Long: `verify decrypts every *.cipher file below DIR, a few at a time, and prints a
line for each: ok with the key and the key version, or FAIL with the reason. No
plaintext is shown. The exit code is 1 if any file fails.`,
		Example: `  kmsfs verify /etc/nginx/certs`,
		Args:    exactly("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if deferr != nil {
				return deferr
			}
			v := &verifying{settings: s, p: p, dir: args[0]}
			return v.run(cmd.Context())
		},
	}
	s.fromEnvironment(p.getenv, false)
	s.addFlags(cmd.Flags(), false, "keys", "qps")
	return cmd
}

// verifying is one run of the verify command.
type verifying struct {
	*settings
	p   *program
	dir string

	mu         sync.Mutex // guards what follows, and the output
	done, bad  int
	total      int
	onTerminal bool
	lost       error // of the output
}

// verifyAtOnce bounds how many files are decrypted at a time.
const verifyAtOnce = 8

func (v *verifying) run(ctx context.Context) error {
	client, err := v.p.verbClient(v.settings)
	if err != nil {
		return err
	}
	defer client.Close()
	by, _, err := v.decrypter(client)
	if err != nil {
		return err
	}
	files, err := cipherFiles(v.dir + "/.") // the directory may be a link
	if err != nil {
		return failf("verify %s: %w", quote(v.dir), cause(err))
	}
	if len(files) == 0 {
		return failf("verify %s: no %s files", quote(v.dir), cipherSuffix)
	}
	v.total = len(files)
	if f, ok := v.p.stderr.(*os.File); ok {
		v.onTerminal = term.IsTerminal(int(f.Fd()))
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, verifyAtOnce)
	for _, file := range files {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			origin, err := v.one(ctx, by, file)
			v.report(file, origin, err)
		})
	}
	wg.Wait()
	v.progress(true)
	if v.lost != nil {
		return failf("verify %s: write: %w", quote(v.dir), cause(v.lost))
	}
	if v.bad > 0 {
		return failf("verify %s: %d of %d files cannot be served", quote(v.dir), v.bad, v.total)
	}
	return nil
}

// cipherFiles lists what a mount of dir would decrypt, relative to it.
func cipherFiles(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.Type().IsRegular() && strings.HasSuffix(e.Name(), cipherSuffix) && e.Name() != cipherSuffix {
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			files = append(files, rel)
		}
		return nil
	})
	return files, err
}

func (v *verifying) one(ctx context.Context, by kms.Decrypter, file string) (kms.Origin, error) {
	content, err := readCiphertext(filepath.Join(v.dir, file))
	if err != nil {
		return kms.Origin{}, cause(err)
	}
	blob, err := kms.ParseBlob(content)
	if err != nil {
		return kms.Origin{}, err
	}
	ec, err := v.contextFor(v.dir, filepath.Join(v.dir, file))
	if err != nil {
		return kms.Origin{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	o, err := kms.Open(ctx, by, blob, ec, v.encoding)
	clear(o.Secret)
	return o.Origin, err
}

// readCiphertext reads a file that nobody vouches for: it may have become a
// FIFO since it was listed.
func readCiphertext(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return io.ReadAll(io.LimitReader(f, kms.MaxBlobFile+1))
}

func (v *verifying) report(file string, origin kms.Origin, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.done++
	if v.onTerminal {
		fmt.Fprint(v.p.stderr, "\r\x1b[K")
	}
	line := fmt.Sprintf("ok    %s  key %s  version %s\n", plainName(file), origin.KeyID, origin.KeyVersionID)
	if err != nil {
		v.bad++
		line = fmt.Sprintf("FAIL  %s  %s\n", plainName(file), oneLine(err.Error()))
	}
	if _, err := io.WriteString(v.p.stdout, line); err != nil {
		v.lost = err
	}
	v.progress(false)
}

// progress keeps a line on the terminal up to date; the last call removes it.
func (v *verifying) progress(last bool) {
	switch {
	case !v.onTerminal:
	case last:
		fmt.Fprint(v.p.stderr, "\r\x1b[K")
	default:
		fmt.Fprintf(v.p.stderr, "\r\x1b[K%d of %d", v.done, v.total)
	}
}
