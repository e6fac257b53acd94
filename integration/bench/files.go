package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The files of every place:
//
//	f          the one that is opened again and again
//	1000/      one thousand, all different
//	10000/     ten thousand, only ever listed
//
// Each has the size of an RSA key of 2048 bits in PEM.
const fileSize = 1704

func few(i int) string  { return fmt.Sprintf("1000/%04d", i) }
func many(i int) string { return fmt.Sprintf("10000/%05d", i) }

// plaintext is what a file holds: text, and no two are alike.
func plaintext(name string) string {
	return strings.Repeat(name+"\n", fileSize/len(name)+1)[:fileSize]
}

// makeFiles makes them as plaintext, as ciphertext, and inside gocryptfs.
func (b *bench) makeFiles(ctx context.Context) error {
	for _, name := range []string{"plain", "source"} {
		dir := b.path(name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		b.later(func() error { return unmount(dir) })
		if err := unix.Mount("none", dir, "tmpfs", 0, "size=256m,mode=0700"); err != nil {
			return &os.PathError{Op: "mount tmpfs", Path: dir, Err: err}
		}
		for _, sub := range []string{"1000", "10000"} {
			if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
				return err
			}
		}
	}
	if err := b.makeSealed(ctx); err != nil {
		return err
	}
	if err := b.makeListed(); err != nil {
		return err
	}
	return b.makeEncrypted(ctx)
}

// makeSealed makes the files that are read. The emulator encrypts them.
func (b *bench) makeSealed(ctx context.Context) error {
	var next atomic.Int64
	next.Store(-2)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for worker := range errs {
		wg.Go(func() {
			client, err := newSDK(b.lab)
			for err == nil && ctx.Err() == nil {
				i := int(next.Add(1))
				if i >= 1000 {
					break
				}
				name := "f"
				if i >= 0 {
					name = few(i)
				}
				var blob string
				if blob, err = client.encrypt(plaintext(name)); err == nil {
					err = b.put(name, blob)
				}
			}
			errs[worker] = err
		})
	}
	wg.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

// makeListed makes the ciphertexts that are listed and never read.
func (b *bench) makeListed() error {
	for i := range 10_000 {
		blob, err := b.blobOf(fileSize)
		if err == nil {
			err = b.put(many(i), blob)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// blobOf is a ciphertext of a plaintext of that size: a true key version, and
// random bytes in the place of the rest, from which nobody without the key can
// tell them.
func (b *bench) blobOf(size int) (string, error) {
	const version, around = 36, 64 // bytes that a blob is longer than its plaintext
	if b.version == nil {
		f, err := os.ReadFile(b.path("source/f.cipher"))
		if err != nil {
			return "", err
		}
		blob, err := base64.StdEncoding.DecodeString(string(f))
		if err != nil {
			return "", err
		}
		b.version = blob[:version]
	}
	blob := make([]byte, size+around)
	rand.Read(blob[copy(blob, b.version):])
	return base64.StdEncoding.EncodeToString(blob), nil
}

func (b *bench) put(name, blob string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(b.path("plain"), name), []byte(plaintext(name)), 0o600),
		os.WriteFile(filepath.Join(b.path("source"), name+".cipher"), []byte(blob), 0o600))
}

// makeEncrypted copies the files into gocryptfs. Its password protects
// nothing, so deriving a key from it need not be slow.
func (b *bench) makeEncrypted(ctx context.Context) error {
	if err := os.WriteFile(b.path("password"), []byte("bench\n"), 0o600); err != nil {
		return err
	}
	dir := b.path("encrypted")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	b.later(func() error { return unmount(dir) })
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=256m,mode=0700"); err != nil {
		return &os.PathError{Op: "mount tmpfs", Path: dir, Err: err}
	}
	if out, err := exec.CommandContext(ctx, "gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", b.path("password"), dir).CombinedOutput(); err != nil {
		return fmt.Errorf("gocryptfs -init: %w: %s", err, out)
	}
	p := b.gocryptfs()
	if err := p.mount(ctx, b); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-r", b.path("plain")+"/.", p.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("copy into gocryptfs: %w: %s", err, out)
	}
	return p.unmount()
}
