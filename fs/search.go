package fs

import (
	"context"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/fs/source"
)

// resolve returns a node that the kernel has, also one one that only a predecessor
// gave it. That may take long, and decrypt: ids follow from what they stand for, so
// a walk over the whole source finds it again, and where the size is not known it
// is asked for. It returns nil for what is gone from the source, replaced files
// above all.
func (f *FS) resolve(r *session.Request, id uint64) *node {
	if n := f.nodes.get(id); n != nil || !f.resumed {
		return n
	}
	return f.searched(r.Context(), id)
}

// searched is resolve for a node that is not in the table.
func (f *FS) searched(ctx context.Context, id uint64) *node {
	n := f.search.find(f, ctx, id)
	if n == nil {
		return nil
	}
	if n.kind == source.ModeFile && n.size == unknownSize && f.mode.opensAtLookup() {
		found, c, err := f.lookFile(n.rel)
		if err != nil || found.id != id || f.learnSize(ctx, found, c) != nil {
			return nil
		}
		n = found
	}
	return f.nodes.restore(n)
}

// unknown is the answer when resolve has found nothing.
func unknown(r *session.Request) fuse.Status {
	if r.GaveUp() {
		return fuse.EINTR // before the search had ended
	}
	return fuse.Status(syscall.ESTALE)
}

// restore enters a node for references that a predecessor gave.
func (t *nodes) restore(n *node) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.byID[n.id]; old != nil {
		return old
	}
	if h := n.kept.Load(); h != nil && !t.keep(h) {
		n.kept.Store(nil)
	}
	t.byID[n.id] = n
	if t.byPath[n.rel] == nil {
		t.byPath[n.rel] = n
	}
	return n
}

// search walks over the source for nodes that only a predecessor knew: when
// one is asked for, at most once in a while, one walk for all who ask.
type search struct {
	mu    sync.Mutex
	walk  chan struct{} // closed when the walk under way has ended
	ended time.Time     // of the last one
	took  time.Duration
	found map[uint64]*node // by the last one, for searchKept
}

const (
	searchKept     = 30 * time.Second
	searchRest     = time.Second // and 20 times as long as a walk takes
	searchPatience = time.Second // of an OPEN, which a LOOKUP would help on
)

func (s *search) find(f *FS, ctx context.Context, id uint64) *node {
	s.mu.Lock()
	n, rest := s.found[id], max(searchRest, 20*s.took)
	if n != nil || s.walk == nil && !s.ended.IsZero() && time.Since(s.ended) < rest {
		s.mu.Unlock()
		return n
	}
	if s.walk == nil {
		s.walk = make(chan struct{})
		go s.run(f)
	}
	walk := s.walk
	s.mu.Unlock()
	select {
	case <-walk:
	case <-ctx.Done(): // which lets somebody else read
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.found[id]
}

func (s *search) run(f *FS) {
	begun := time.Now()
	found := map[uint64]*node{}
	f.walk("", found)
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.walk)
	s.found, s.ended, s.took, s.walk = found, time.Now(), time.Since(begun), nil
	ended := s.ended
	time.AfterFunc(searchKept, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ended.Equal(ended) {
			s.found = nil
		}
	})
}

// walk finds the nodes of everything that is shown in a directory and beneath.
func (f *FS) walk(dir string, found map[uint64]*node) {
	all, err := f.source.List(dir)
	if err != nil {
		return
	}
	for _, e := range all {
		if e.ShownName(f.cfg.Plain) == "" {
			continue
		}
		n, _, err := f.look(source.Join(dir, e.Name))
		if err != nil {
			continue
		}
		found[n.id] = n
		if n.kind == source.ModeDir {
			f.walk(n.rel, found)
		}
	}
}

// reopen makes the handle of a descriptor that a predecessor opened: its
// number is that of its version, whose bytes are in the source unless it was
// replaced since.
func (m *checked) reopen(r *session.Request, in *fuse.ReadIn) *handle {
	if !m.resumed {
		return nil
	}
	n := m.resolve(r, in.Fh)
	if n == nil || n.kind != source.ModeFile {
		return nil
	}
	if n.plain {
		if m.openPlain(n, in.Pid, true, &audit.Open{Caller: audit.Caller{UID: in.Uid}}, new(fuse.OpenOut)).Ok() {
			return m.handles.get(in.Fh) // what is there now, if it is still the same
		}
		return nil
	}
	found, c, err := m.lookFile(n.rel)
	if err != nil || found.id != in.Fh || c.err() != nil {
		return nil
	}
	h, err := m.handleFor(n.rel, c)
	if err != nil {
		return nil
	}
	h.inherited = true
	return m.handles.restore(in.Fh, h)
}

// restore enters a handle under the number that a predecessor gave it.
func (t *handles) restore(fh uint64, h *handle) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.open[fh]; old != nil {
		h.close()
		return old
	}
	t.open[fh] = h
	return h
}

// forget drops an inherited handle: nobody has the file open any more.
func (t *handles) forget(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.open[id]; h != nil && h.inherited && h.opens <= 0 {
		delete(t.open, id)
	}
}

// resolveSoon is resolve for an OPEN. ESTALE would bring the kernel back with a
// node that we know, but it walks the path again only once in an open(2), and
// a predecessor may have used that up, or another one will die before we are
// asked again. So it is the answer only where the search takes long.
func (f *FS) resolveSoon(r *session.Request, in *fuse.OpenIn, retry bool) *node {
	if n := f.nodes.get(in.NodeId); n != nil || !f.resumed {
		return n
	}
	if retry || in.Pid == 0 {
		return f.searched(r.Context(), in.NodeId)
	}
	ctx, end := context.WithTimeout(r.Context(), searchPatience)
	defer end()
	return f.searched(ctx, in.NodeId)
}

// reopenDir makes the listing of a directory that a predecessor opened. It is
// listed anew: where the directory has changed in between, an entry may come
// twice or not at all, as it may for any reader of a directory that changes.
func (d *dirs) reopen(fh uint64, uid uint32) *dirHandle {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.open[fh]
	if h == nil {
		h = &dirHandle{uid: uid}
		d.open[fh] = h
	}
	return h
}
