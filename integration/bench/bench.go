package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// patience bounds every wait for something that should be there soon.
const patience = 20 * time.Second

// modes are the ways in which kmsfs opens files (open=).
var modes = []string{"checked", "fast"}

// bench is one run of the harness.
type bench struct {
	bin      string        // directory of the programs
	only     string        // what is measured; empty: all
	rounds   int           // of the loops
	slice    time.Duration // of one place in one round
	listings int           // mounts to list
	cold     int           // cold files to open, one after the other
	storms   int           // times that many are opened at once
	starts   int           // times that kmsfs is started
	replaced int           // times that a hundred files are replaced

	load string // of the machine before, on average over a minute
	dir  string // everything below it is the harness's
	lab  *lab.Lab
	// version is the id of the key version with which the ciphertexts were made.
	version []byte
	undo    []func() error // the last one first
}

func (b *bench) say(format string, a ...any) { fmt.Printf("bench: "+format+"\n", a...) }

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// later is called before the thing is begun, so that no error comes between.
func (b *bench) later(do func() error) { b.undo = append(b.undo, do) }

// cleanUp ends everything. A part that fails does not keep the rest.
func (b *bench) cleanUp() error {
	var errs []error
	for i := len(b.undo) - 1; i >= 0; i-- {
		errs = append(errs, b.undo[i]())
	}
	b.undo = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

// prepare makes the files and starts the emulator.
func (b *bench) prepare(ctx context.Context) error {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	b.load, _, _ = strings.Cut(string(load), " ")
	// The mount table has the real path.
	parent, err := filepath.EvalSymlinks(os.TempDir())
	if err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(parent, "kmsfs-bench-"); err != nil {
		return err
	}
	b.later(b.removeAll)
	if b.lab, err = b.startLab("lab"); err != nil {
		return err
	}
	return b.makeFiles(ctx)
}

// startLab starts an emulator with a key.
func (b *bench) startLab(name string, args ...string) (*lab.Lab, error) {
	l, err := lab.Start(b.bin, b.path(name), args...)
	if err != nil {
		return nil, err
	}
	b.later(l.Stop)
	_, err = l.CreateKey()
	return l, err
}

// removeAll removes the directory, but never through a mount.
func (b *bench) removeAll() error {
	all, err := mount.All()
	if err != nil {
		return err
	}
	for _, m := range all {
		if strings.HasPrefix(m.Point, b.dir+"/") {
			return fmt.Errorf("%s is kept: %s is still mounted", b.dir, m.Point)
		}
	}
	return os.RemoveAll(b.dir)
}
