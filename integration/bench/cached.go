package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// measureCached measures what is asked for again and again.
func (b *bench) measureCached(ctx context.Context) (rows []row, err error) {
	places := append(b.places(",qps=1000"), b.libfuse())
	for _, mode := range modes {
		places = append(places, b.successor(mode, ",qps=1000"))
	}
	unmount, err := b.mountAll(ctx, places)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	for _, p := range places {
		if err := p.warm(); err != nil {
			return nil, err
		}
	}
	for _, m := range []struct {
		what    string
		threads int
		loop    func(*place) (loop, error)
		targets targets
	}{
		{"open, read, close 1.7 KB", 1, (*place).reading, openTargets},
		{"the same, 4 threads", 4, (*place).reading, openTargets},
		{"the same, 1,000 files in turn", 1, (*place).readingAll, targets{"checked": openTargets["checked"]}},
		{"stat", 1, (*place).looking, targets{"": {{tmpfs, 1.3}}}},
		{"stat of what does not exist", 1, (*place).missing, targets{"": {{tmpfs, 1.3}}}},
	} {
		times, err := b.turns(ctx, len(places), m.threads, func(p int) (loop, error) { return m.loop(places[p]) })
		if err != nil {
			return nil, err
		}
		rows = append(rows, pairs(m.what, names(places), times, m.targets)...)
		rows = append(rows, successions(m.what, names(places), times)...)
	}
	for _, mode := range modes {
		rows = append(rows, row{what: "sequential read of 256 MB", mode: mode, note: "not applicable: a file holds at most 6 KB"})
	}
	return rows, nil
}

// warm reads every file that the loops read, and compares it.
func (p *place) warm() error {
	for i := -1; i < 1000; i++ {
		name := "f"
		if i >= 0 {
			name = few(i)
		}
		got, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil {
			return err
		}
		if string(got) != plaintext(name) {
			return errors.New(p.name + " serves something else as " + name)
		}
	}
	return nil
}

func (p *place) reading() (loop, error) {
	f, err := newFile(filepath.Join(p.dir, "f"))
	buf := make([]byte, 4096)
	return func(n int) error {
		for range n {
			if err := f.read(buf); err != nil {
				return err
			}
		}
		return nil
	}, err
}

func (p *place) readingAll() (loop, error) {
	files := make([]file, 1000)
	for i := range files {
		var err error
		if files[i], err = newFile(filepath.Join(p.dir, few(i))); err != nil {
			return nil, err
		}
	}
	next := 0
	buf := make([]byte, 4096)
	return func(n int) error {
		for range n {
			if err := files[next].read(buf); err != nil {
				return err
			}
			if next++; next == len(files) {
				next = 0
			}
		}
		return nil
	}, nil
}

func (p *place) looking() (loop, error) { return p.stating("f", 0) }
func (p *place) missing() (loop, error) { return p.stating("none", unix.ENOENT) }

func (p *place) stating(name string, want unix.Errno) (loop, error) {
	f, err := newFile(filepath.Join(p.dir, name))
	st := new(unix.Stat_t)
	return func(n int) error {
		for range n {
			if err := f.stat(st, want); err != nil {
				return err
			}
		}
		return nil
	}, err
}
