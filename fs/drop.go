package fs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/invalidate"
	"github.com/kmsfs/kmsfs/fs/source"
)

// Drop forgets plaintext before its time, in the cache and in the kernel: that
// of the files shown under paths, directories with all that is beneath them,
// or of everything when there are none. It returns how many plaintexts were
// dropped from the cache. What is read afterwards is decrypted anew, also
// through an old descriptor or mapping.
//
// It must not be called from a handler: notifications wait for READ and
// LOOKUP. ctx ends the waiting for them, not what they do.
func (f *FS) Drop(ctx context.Context, paths []string) (dropped int, err error) {
	before := f.cfg.Cache.Stats().Purged
	f.sizes.retry()
	if len(paths) == 0 {
		paths = []string{""}
	}
	var stale []*node
	for _, p := range paths {
		known, perr := f.purge(ctx, p)
		stale = append(stale, known...)
		err = cmp.Or(err, perr) // the first one says enough
	}
	err = cmp.Or(err, f.dropKernel(ctx, stale))
	return int(f.cfg.Cache.Stats().Purged - before), err
}

// purge empties the cache of what is shown at or beneath p, and returns the
// nodes that the kernel has of it. A version that is neither in the source
// nor open any more can be reached by nobody, and is left to its TTL.
func (f *FS) purge(ctx context.Context, p string) ([]*node, error) {
	within := func(rel string) bool {
		shown := strings.TrimSuffix(rel, source.Suffix)
		return p == "" || shown == p || rel == p || strings.HasPrefix(rel, p+"/")
	}
	if p == "" {
		f.cfg.Cache.PurgeAll()
		return f.nodes.files(within), nil
	}
	known := f.nodes.files(within)
	open := f.handles.within(within)
	for _, n := range known {
		if h := n.kept.Load(); h != nil {
			open = append(open, h)
		}
	}
	for _, h := range open {
		f.cfg.Cache.Purge(h.key)
	}
	err := f.purgeSource(ctx, p)
	known = f.nodes.files(within) // again: pages may have been read of what was not purged yet
	if err == unix.ENOENT && len(known)+len(open) > 0 {
		err = nil // removed, and remembered
	}
	if err != nil {
		return known, fmt.Errorf("%s: %w", audit.Printable(p), err)
	}
	return known, nil
}

// purgeSource empties the cache of what the source has at or beneath p.
func (f *FS) purgeSource(ctx context.Context, p string) error {
	dir, name := path.Split(p)
	n, c, err := f.find(strings.TrimSuffix(dir, "/"), name)
	switch {
	case err == unix.ENOTDIR:
		return unix.ENOENT
	case err != nil:
		return err
	case n.kind == source.ModeLink:
		return errors.New("it is a link; name the file that it leads to")
	case n.kind == source.ModeDir:
		return f.purgeDir(ctx, n.rel)
	}
	return f.purgeFile(n, c)
}

func (f *FS) purgeFile(n *node, c content) error {
	if n.plain || c.err() != nil {
		return nil // never decrypted
	}
	h, err := f.handleFor(n.rel, c)
	if err == nil {
		f.cfg.Cache.Purge(h.key)
	}
	return err
}

func (f *FS) purgeDir(ctx context.Context, rel string) error {
	entries, err := f.source.List(rel)
	if err != nil {
		return err
	}
	for _, e := range entries {
		at := source.Join(rel, e.Name)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case e.Kind == source.ModeDir:
			err = cmp.Or(err, f.purgeDir(ctx, at))
		case e.Kind == source.ModeFile && e.IsCiphertext():
			n, c, lerr := f.lookFile(at)
			if lerr == nil {
				lerr = f.purgeFile(n, c)
			}
			if lerr != nil && lerr != unix.ENOENT {
				err = cmp.Or(err, fmt.Errorf("%s: %w", audit.Printable(at), lerr))
			}
		}
	}
	return err
}

// dropKernel takes pages and names back from the kernel. Each notification
// may wait for a READ in flight, which ends by its deadline, so several are
// under way and nobody holds a lock.
func (f *FS) dropKernel(ctx context.Context, all []*node) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		invalidate.ForEach(all, func(n *node) {
			f.pages.Drop(n.id)
			if dir := f.dirID(source.Parent(n.rel)); dir != 0 {
				f.names.Forget(dir, strings.TrimSuffix(path.Base(n.rel), source.Suffix))
			}
		})
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.New("some pages are being read right now, and go when that has ended")
	}
}

// dirID is the node of a directory that the kernel knows, or 0.
func (f *FS) dirID(rel string) uint64 {
	if rel == "" {
		return rootID
	}
	if n := f.nodes.current(rel); n != nil && n.kind == source.ModeDir {
		return n.id
	}
	return 0
}

// files returns the nodes of files at the source paths that are asked for.
func (t *nodes) files(within func(rel string) bool) []*node {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*node
	for _, n := range t.byID {
		if n.kind == source.ModeFile && within(n.rel) {
			all = append(all, n)
		}
	}
	return all
}

// fileIDs are the nodes of all files.
func (t *nodes) fileIDs() []uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []uint64
	for id, n := range t.byID {
		if n.kind == source.ModeFile {
			all = append(all, id)
		}
	}
	return all
}

// within returns the open versions of files at the source paths that are
// asked for.
func (t *handles) within(within func(rel string) bool) []*handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*handle
	for _, h := range t.open {
		if h.plain == nil && within(h.rel) {
			all = append(all, h)
		}
	}
	return all
}
