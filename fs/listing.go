package fs

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/fs/source"
)

// dirHandle is one open directory: a snapshot of its names, so that a listing
// in many requests is one listing.
type dirHandle struct {
	uid     uint32
	mu      sync.Mutex
	entries []source.Entry // nil until first read; names as shown are computed late
}

// dirs are the open directories.
//
// INVARIANT: held has for each uid the number of entries in its snapshots, and
// at most maxHeld: one user cannot fill the memory with open directories.
type dirs struct {
	mu   sync.Mutex
	last uint64
	open map[uint64]*dirHandle
	held map[uint32]int
}

// maxHeld is ten directories of 100,000 names, some 70 MB.
const maxHeld = 1_000_000

// hold counts a snapshot that takes the place of an older one of the handle.
func (d *dirs) hold(h *dirHandle, before, after int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.held[h.uid] - before + after
	if n > maxHeld && after > 0 {
		return false
	}
	if d.held[h.uid] = n; n == 0 {
		delete(d.held, h.uid)
	}
	return true
}

func (d *dirs) get(fh uint64) *dirHandle {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[fh]
}

// OpenDir starts a listing.
func (f *FS) OpenDir(r *session.Request, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f.resolve(r, in.NodeId) == nil {
		return unknown(r)
	}
	f.dirs.mu.Lock()
	defer f.dirs.mu.Unlock()
	f.dirs.last++
	f.dirs.open[f.dirs.last] = &dirHandle{uid: in.Uid}
	out.Fh = f.dirs.last
	return fuse.OK
}

// ReleaseDir ends a listing.
func (f *FS) ReleaseDir(_ *session.Request, in *fuse.ReleaseIn) {
	f.dirs.mu.Lock()
	h := f.dirs.open[in.Fh]
	delete(f.dirs.open, in.Fh)
	f.dirs.mu.Unlock()
	if h != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		f.dirs.hold(h, len(h.entries), 0)
	}
}

// snapshot lists the directory at the first read and after a rewind.
func (f *FS) snapshot(r *session.Request, in *fuse.ReadIn) (*node, []source.Entry, fuse.Status) {
	n := f.resolve(r, in.NodeId)
	h := f.dirs.get(in.Fh)
	if h == nil && f.resumed {
		h = f.dirs.reopen(in.Fh, in.Uid)
	}
	if n == nil || h == nil {
		return nil, nil, unknown(r)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.entries == nil || in.Offset == 0 {
		f.names.Add(n.id, n.rel)
		all, err := f.source.List(n.rel)
		if err != nil {
			return nil, nil, sourceStatus(err)
		}
		entries := slices.Insert(f.shown(n.rel, all), 0, dots...)
		if !f.dirs.hold(h, len(h.entries), len(entries)) {
			return nil, nil, fuse.Status(syscall.ENFILE)
		}
		h.entries = entries
	}
	return n, h.entries, fuse.OK
}

// shown drops hidden entries, and those whose name a ciphertext takes.
func (f *FS) shown(dir string, all []source.Entry) []source.Entry {
	taken := map[string]bool{} // shown names that are not ciphertext: few
	for _, e := range all {
		if name := e.ShownName(f.cfg.Plain); name != "" && !e.IsCiphertext() {
			taken[name] = true
		}
	}
	lost := map[string]bool{}
	if len(taken) > 0 {
		for _, e := range all {
			if e.IsCiphertext() && taken[e.ShownName(f.cfg.Plain)] {
				lost[e.ShownName(f.cfg.Plain)] = true
			}
		}
	}
	out := all[:0]
	for _, e := range all {
		name := e.ShownName(f.cfg.Plain)
		if name == "" {
			continue
		}
		if lost[name] && !e.IsCiphertext() {
			f.cfg.Log.Warn("hidden behind a ciphertext of the same shown name", "path", audit.Printable(source.Join(dir, e.Name)))
			continue
		}
		out = append(out, e)
	}
	return out
}

// ReadDir lists names only.
func (f *FS) ReadDir(r *session.Request, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	n, entries, status := f.snapshot(r, in)
	if !status.Ok() {
		return status
	}
	for i := in.Offset; i < uint64(len(entries)); i++ {
		if !out.AddDirEntry(f.dirEntry(n, entries, i)) {
			break
		}
	}
	return fuse.OK
}

// ReadDirPlus lists names with attributes, so that ls -l needs no LOOKUP per
// file. It never calls the key service.
func (f *FS) ReadDirPlus(r *session.Request, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	n, entries, status := f.snapshot(r, in)
	if !status.Ok() {
		return status
	}
	dir, err := f.source.OpenDir(n.rel)
	if err != nil {
		return sourceStatus(err)
	}
	defer dir.Close()
	for i, added := in.Offset, false; i < uint64(len(entries)) && !added; {
		fit := fitting(entries[i:], in.Size)
		if len(fit) == 0 {
			break
		}
		for _, l := range f.lookTogether(dir, n.rel, fit) {
			e, listed := f.dirEntry(n, entries, i), entries[i]
			i++
			if l.err == syscall.ENOENT {
				continue // gone since the snapshot
			}
			if l.node != nil {
				if listed.Kind = l.node.kind; listed.ShownName(f.cfg.Plain) != e.Name {
					continue // another kind of thing since the snapshot, under another name or none
				}
				e.Ino, e.Mode = l.node.id, l.node.kind
			}
			slot := out.AddDirLookupEntry(e)
			if slot == nil {
				return fuse.OK
			}
			added = true
			// Without a node the kernel takes the name and asks LOOKUP for the
			// rest, which then reports the error, or finds out the size.
			if l.node == nil || l.node.size == unknownSize && f.mode.opensAtLookup() {
				continue
			}
			if child, status := f.enter(r, l.node, slot); status.Ok() {
				slot.SetEntryTimeout(f.mode.listed(child))
			}
		}
	}
	return fuse.OK
}

// fitting are the first entries, as many as may fit into an answer of that size,
// with attributes.
func fitting(entries []source.Entry, size uint32) []source.Entry {
	const fixed = int(unsafe.Sizeof(fuse.EntryOut{})) + 24 // fuse_entry_out and fuse_dirent
	room := int(size)
	for i, e := range entries {
		shown := len(strings.TrimSuffix(e.Name, source.Suffix))
		if room -= fixed + (shown+7)&^7; room < 0 {
			return entries[:i]
		}
	}
	return entries
}

// listed is what a look at a listed name has found; nothing for a dot.
type listed struct {
	node *node
	err  error
}

// lookTogether looks at listed names, on all processors: whoever lists waits for
// each of them.
func (f *FS) lookTogether(dir source.DirFD, parent string, entries []source.Entry) []listed {
	found := make([]listed, len(entries))
	var next atomic.Int64
	var failed atomic.Bool
	look := func() {
		defer func() {
			if recover() != nil {
				failed.Store(true)
			}
		}()
		for i := int(next.Add(1)) - 1; i < len(entries); i = int(next.Add(1)) - 1 {
			if !isDot(entries[i]) {
				found[i].node, found[i].err = f.lookListed(dir, parent, entries[i].Name)
			}
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(entries)/8) - 1 {
		others.Go(look)
	}
	look()
	others.Wait()
	if failed.Load() {
		panic("a look at a listed name") // where it is turned into an error of this request
	}
	return found
}

// dots are the first two entries of each listing: the directory and its parent.
var dots = []source.Entry{{Name: ".", Kind: source.ModeDir}, {Name: "..", Kind: source.ModeDir}}

func isDot(e source.Entry) bool { return e.Name == "." || e.Name == ".." }

// dirEntry is entry i of a listing of n.
func (f *FS) dirEntry(n *node, entries []source.Entry, i uint64) fuse.DirEntry {
	e := fuse.DirEntry{Name: entries[i].ShownName(f.cfg.Plain), Mode: entries[i].Kind, Off: i + 1}
	if entries[i].Name == "." {
		e.Ino = n.id
	}
	return e
}
