package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// patience bounds every wait for something that should be there soon.
const patience = 20 * time.Second

// demo is one demonstration.
type demo struct {
	bin        string // directory of the programs
	keep       bool
	pause      int // after this step
	generation int // of the key
	out        io.Writer

	dir  string // everything below it is the demonstration's
	lab  *lab.Lab
	undo []undo // what is to be ended, the last one first
	at   int    // number of the step
	kept bool   // the demonstration is over, only the mount is kept

	server   *process // kmsfs mount
	holder   *process // and what would start it anew
	port     int      // of nginx
	searched searched
}

type step struct {
	name string
	do   func(*demo, context.Context) (string, error)
}

// steps are run in order; each returns what it did in one line, and further
// lines to show below it. The clean-up is the last step of its own.
var steps = []step{
	{"directory", (*demo).makeDirectory},
	{"emulator", (*demo).startEmulator},
	{"key", (*demo).createKey},
	{"encrypt", (*demo).encrypt},
	{"mount", (*demo).mount},
	{"list", (*demo).list},
	{"check", (*demo).check},
	{"certificate", (*demo).certificate},
	{"nginx", (*demo).startNginx},
	{"handshake", (*demo).handshake},
	{"search", (*demo).search},
}

// show runs all steps but the clean-up, and waits if the mount is to be kept.
func (d *demo) show(ctx context.Context) error {
	for _, s := range steps {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		start := time.Now()
		done, err := s.do(d, ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		d.say(s.name, done, time.Since(start))
		if d.at == d.pause {
			<-ctx.Done()
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d.keep {
		d.kept = true
		d.invite()
		<-ctx.Done()
	}
	return nil
}

// undo ends something that a step began.
type undo struct {
	name string
	do   func() error
}

// later is called before the thing is begun, so that no error comes between.
func (d *demo) later(name string, do func() error) {
	d.undo = append(d.undo, undo{name, do})
}

// cleanUp ends everything. A part that fails does not keep the rest.
func (d *demo) cleanUp() error {
	start := time.Now()
	var gone []string
	var errs []error
	for i := len(d.undo) - 1; i >= 0; i-- {
		u := d.undo[i]
		if err := u.do(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", u.name, err))
			continue
		}
		gone = append(gone, u.name)
	}
	d.undo = nil
	if len(gone) > 0 {
		d.at = len(steps)
		d.say("clean-up", "gone: "+strings.Join(gone, ", "), time.Since(start))
	}
	return errors.Join(errs...)
}

func (d *demo) makeDirectory(context.Context) (string, error) {
	// The mount table has the real path.
	parent, err := filepath.EvalSymlinks(os.TempDir())
	if err == nil {
		parent, err = filepath.Abs(parent)
	}
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(parent, "kmsfs-demo-")
	if err != nil {
		return "", err
	}
	d.dir = dir
	d.later("all files", d.removeAll)
	for _, name := range []string{"certs", "mnt", "nginx"} {
		if err := os.Mkdir(d.path(name), 0o700); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// removeAll removes the directory, but never through a mount.
func (d *demo) removeAll() error {
	left, err := mountsBelow(d.dir)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("still mounted: %s", strings.Join(left, " "))
	}
	if err != nil {
		return fmt.Errorf("%s is kept: %w", d.dir, err)
	}
	return os.RemoveAll(d.dir)
}
