package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// searched is what the search for plaintext went through.
type searched struct{ files, bytes int }

const (
	pemLine  = 64      // characters of a line of PEM, 48 bytes
	keyRoom  = 8 << 10 // a PEM file and its lines decoded
	readRoom = 1 << 20 // a piece of a file
)

// search looks for the private key in every file that the demonstration wrote,
// as PEM and as DER. What it looks for is in locked memory and nowhere else.
func (d *demo) search(ctx context.Context) (string, error) {
	memory, err := unix.Mmap(-1, 0, 2*keyRoom+readRoom, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return "", fmt.Errorf("map memory: %w", err)
	}
	defer unix.Munmap(memory)
	defer clear(memory)
	if err := unix.Mlock(memory); err != nil {
		return "", fmt.Errorf("lock memory: %w", err)
	}
	if err := unix.Madvise(memory, unix.MADV_DONTDUMP); err != nil {
		return "", fmt.Errorf("keep memory out of core dumps: %w", err)
	}
	pieces, err := privatePieces(d.path("mnt/key.pem"), memory[:keyRoom:keyRoom], memory[keyRoom:2*keyRoom:2*keyRoom])
	if err != nil {
		return "", err
	}
	room := memory[2*keyRoom:]
	if found, _, err := contains(d.path("mnt/key.pem"), pieces, room); err != nil || !found {
		return "", fmt.Errorf("the search does not find the key where it is: %w", or(err, errors.New("not in mnt/key.pem")))
	}
	err = filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case path == d.path("mnt"):
			return fs.SkipDir
		case !e.Type().IsRegular():
			return nil
		}
		found, n, err := contains(path, pieces, room)
		if err == nil && found {
			err = fmt.Errorf("%s has plaintext of the private key", path)
		}
		d.searched.files++
		d.searched.bytes += n
		return err
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("plaintext of the key in %d files, %d bytes: not found", d.searched.files, d.searched.bytes), nil
}

// privatePieces reads a key in PEM and returns its lines, as they are and
// decoded. The first third of an RSA key is its modulus, which is public and
// in the certificate too.
func privatePieces(path string, text, decoded []byte) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := io.ReadFull(f, text)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read %s: %w", path, or(err, errors.New("too long for a key")))
	}
	var pieces [][]byte
	for line := range bytes.Lines(text[:n]) {
		if line = bytes.TrimRight(line, "\n"); len(line) == pemLine && line[0] != '-' {
			pieces = append(pieces, line)
		}
	}
	pieces = pieces[len(pieces)/3:]
	if len(pieces) < 10 {
		return nil, fmt.Errorf("%s is too short for a key", path)
	}
	for _, line := range pieces {
		n, err := base64.StdEncoding.Decode(decoded, line)
		if err != nil {
			return nil, fmt.Errorf("%s is not PEM", path)
		}
		pieces = append(pieces, decoded[:n:n])
		decoded = decoded[n:]
	}
	return pieces, nil
}

// contains reads a file piece by piece into room; the pieces overlap.
func contains(path string, pieces [][]byte, room []byte) (found bool, size int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, 0, err
	}
	defer f.Close()
	kept := 0
	for {
		n, err := io.ReadFull(f, room[kept:])
		size += n
		for _, piece := range pieces {
			if bytes.Contains(room[:kept+n], piece) {
				found = true
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return found, size, nil
		case err != nil:
			return found, size, err
		}
		kept = copy(room, room[len(room)-pemLine:])
	}
}
