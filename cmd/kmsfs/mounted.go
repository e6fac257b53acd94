package main

import (
	"errors"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
)

// mounted finds the mount at a mountpoint by the mount table alone. The mount
// itself is not touched: it may hang, or its daemon may be dead.
func (p *program) mounted(verb, mnt string) (control.Mount, error) {
	fail := func(err error) *ui.Failure { return ui.Failf("%s %s: %w", verb, ui.Quote(mnt), err) }
	point, err := mount.RealPoint(mnt)
	if err != nil {
		return control.Mount{}, fail(ui.Cause(err))
	}
	m, ok, err := mount.At(point)
	if err != nil {
		return control.Mount{}, err
	}
	if !ok || m.Type != mount.Type {
		return control.Mount{}, fail(errors.New("kmsfs is not mounted there")).Hint("findmnt -t %s lists the mounts", mount.Type)
	}
	return control.Mount{Entry: m, Name: mnt, Getenv: p.getenv}, nil
}
