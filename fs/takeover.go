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

// takeOver serves on where a predecessor stopped or died: it answers what is
// under way, and drops the pages whose end nobody waits for any more.
func (f *FS) takeOver() {
	f.resumed = true
	paged := f.session.LeftPaged()
	f.pages.Inherit(paged)
	n := f.session.Serve()
	go f.pages.DropInherited()
	f.cfg.Log.Info("successor took over", "mountpoint", audit.Printable(f.cfg.Mount.Point), "under_way", n, "paged", len(paged))
}

// Quiesce waits until nothing is being notified to the kernel, and lets nothing
// be from then on. It is called, while requests are still answered, before
// anything that a thread must not keep from ending: exec, exit. It returns false
// after the time given; then nothing has changed. Restart takes it back.
func (f *FS) Quiesce(patience time.Duration) bool { return f.notifications.Quiesce(patience) }

// Stop ends the serving for a successor: nothing is lost, and nothing is
// unmounted. What was not answered within the time given is in the journal;
// then it returns false, and an answer may still be given.
func (f *FS) Stop(patience time.Duration) bool {
	defer f.audit.Flush()
	return f.session.Stop(patience, f.nodes.fileIDs())
}

// Dismiss ends all loads with an error, and every later one: the end is near, and
// there is no successor.
func (f *FS) Dismiss() { f.cfg.Cache.Close() }

// Abandon leaves what is under way after a Stop to a successor: from now on
// nothing is answered any more, and no plaintext is in use.
func (f *FS) Abandon() {
	f.session.Abandon()
	f.audit.Flush()
}

// Restart serves on after a Quiesce, and a Stop, that no successor followed.
func (f *FS) Restart() {
	f.session.Restart()
	f.notifications.Open()
}

// known returns a node that the kernel has, also one that only a predecessor
// gave it: ids follow from what they stand for, so a walk over the source
// finds it again. It returns nil for what is gone from the source, replaced
// files above all.
func (f *FS) known(r *session.Request, id uint64) *node {
	if n := f.nodes.get(id); n != nil || !f.resumed {
		return n
	}
	return f.searched(r.Context(), id)
}

// searched is known for a node that is not in the table.
func (f *FS) searched(ctx context.Context, id uint64) *node {
	n := f.search.find(f, ctx, id)
	if n == nil {
		return nil
	}
	if n.kind == source.ModeFile && n.size == unknownSize && f.cfg.Fast {
		found, c, err := f.lookFile(n.rel)
		if err != nil || found.id != id || f.learnSize(ctx, found, c) != nil {
			return nil
		}
		n = found
	}
	return f.nodes.restore(n)
}

// unknown is the answer when known has found nothing.
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
func (f *FS) reopen(r *session.Request, in *fuse.ReadIn) *handle {
	if !f.resumed {
		return nil
	}
	n := f.known(r, in.Fh)
	if n == nil || n.kind != source.ModeFile {
		return nil
	}
	if n.plain {
		if f.openPlain(n, in.Pid, true, &audit.Open{Caller: audit.Caller{UID: in.Uid}}, new(fuse.OpenOut)).Ok() {
			return f.handles.get(in.Fh) // what is there now, if it is still the same
		}
		return nil
	}
	found, c, err := f.lookFile(n.rel)
	if err != nil || found.id != in.Fh || c.err() != nil {
		return nil
	}
	h, err := f.handleFor(n.rel, c.kind)
	if err != nil {
		return nil
	}
	h.inherited = true
	return f.handles.restore(in.Fh, h)
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

// openKnown is known for an OPEN. ESTALE would bring the kernel back with a
// node that we know, but it walks the path again only once in an open(2), and
// a predecessor may have used that up, or another one will die before we are
// asked again. So it is the answer only where the search takes long.
func (f *FS) openKnown(r *session.Request, in *fuse.OpenIn, retry bool) *node {
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
