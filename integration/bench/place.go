package main

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// place is a directory with the files, one of those that are compared.
type place struct {
	name  string // tmpfs, loopback, gocryptfs, or a mode of kmsfs
	dir   string
	start func(context.Context) (*server, error) // nil: it is always there
	*server
}

// The others, in the order of the table's columns. All of them keep their
// files on the tmpfs, as the source of kmsfs is on one.
const (
	tmpfs     = "tmpfs"
	loopback  = "loopback"
	gocryptfs = "gocryptfs"
	libfuse   = "libfuse"
)

var others = []string{tmpfs, loopback, gocryptfs, libfuse}

// places are kmsfs in all its modes, and the others.
func (b *bench) places(options string) []*place {
	var all []*place
	for _, mode := range modes {
		all = append(all, b.kmsfs(b.lab, mode, options))
	}
	return append(all, &place{name: tmpfs, dir: b.path("plain")}, b.loopback(), b.gocryptfs())
}

// kmsfs logs to a file, as in service.
func (b *bench) kmsfs(l *lab.Lab, mode, options string) *place {
	dir := b.path(mode)
	return &place{name: mode, dir: dir, start: func(ctx context.Context) (*server, error) {
		return serve(ctx, l.Command("mount", "--foreground", "-o", kmsfsOptions(mode, options), b.path("source"), dir), dir)
	}}
}

func kmsfsOptions(mode, more string) string {
	return "allow_emulator,ttl=1h,log_file=kmsfs.log,open=" + mode + more
}

// loopback runs as root and then hands the kernel the file to read from
// (passthrough), which is the fastest it can be.
func (b *bench) loopback() *place {
	dir := b.path(loopback)
	return &place{name: loopback, dir: dir, start: func(ctx context.Context) (*server, error) {
		return serve(ctx, exec.Command(filepath.Join(b.bin, "loopback"), "-q", "-directmountstrict", "-allow-other", dir, b.path("plain")), dir)
	}}
}

func (b *bench) gocryptfs() *place {
	dir := b.path(gocryptfs)
	return &place{name: gocryptfs, dir: dir, start: func(ctx context.Context) (*server, error) {
		return serve(ctx, exec.Command("gocryptfs", "-q", "-fg", "-passfile", b.path("password"), b.path("encrypted"), dir), dir)
	}}
}

// libfuse is a server in C that only answers from memory: what is left is the
// price of FUSE.
func (b *bench) libfuse() *place {
	dir := b.path(libfuse)
	return &place{name: libfuse, dir: dir, start: func(ctx context.Context) (*server, error) {
		return serve(ctx, exec.Command(filepath.Join(b.bin, "memory"), b.path("plain"), dir), dir)
	}}
}

// successor is kmsfs after it has become its own successor.
func (b *bench) successor(mode, options string) *place {
	dir := b.path(mode + "-successor")
	return &place{name: successorOf(mode), dir: dir, start: func(ctx context.Context) (*server, error) {
		s, err := serve(ctx, b.lab.Command("mount", "--foreground", "-o", kmsfsOptions(mode, options), b.path("source"), dir), dir)
		if err != nil {
			return nil, err
		}
		if _, err := b.lab.Kmsfs(nil, "reload", dir); err != nil {
			return nil, errors.Join(err, s.stop())
		}
		return s, nil
	}}
}

func successorOf(mode string) string { return mode + ", successor" }

// mount starts the place's server; it is stopped at the end, or before.
func (p *place) mount(ctx context.Context, b *bench) (err error) {
	if p.start == nil {
		return nil
	}
	p.server, err = p.start(ctx)
	if err == nil {
		b.later(p.unmount)
	}
	return err
}

func (p *place) unmount() error {
	if p.server == nil {
		return nil
	}
	s := p.server
	p.server = nil
	return s.stop()
}

// mountAll mounts places that are unmounted by the returned function.
func (b *bench) mountAll(ctx context.Context, places []*place) (func() error, error) {
	unmount := func() error {
		var errs []error
		for _, p := range places {
			errs = append(errs, p.unmount())
		}
		return errors.Join(errs...)
	}
	for _, p := range places {
		if err := p.mount(ctx, b); err != nil {
			return nil, errors.Join(err, unmount())
		}
	}
	return unmount, nil
}
