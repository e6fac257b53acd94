package invalidate

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/source"
)

// Names pushes changes of directories in which the kernel may trust names: for
// up to a second after a listing or a LOOKUP. A push takes that trust back as
// soon as the source changes. Where inotify sees nothing (a write through an
// old mapping; network file systems, of which only open=fast trusts a LOOKUP),
// and in the time that a push takes, what the kernel believes may be that
// second old; only in open=fast does an open of a file believe it.
//
// EntryNotify waits for a LOOKUP in the same directory, so it is sent from a
// goroutine of its own, which holds no lock; never from a handler.
type Names struct {
	source *source.Dir

	mu     sync.Mutex
	file   *os.File // inotify; nil when it cannot be had
	fd     int      // of file: its Fd would make it block
	kernel Notifier
	dirs   map[int32]directory // by watch descriptor
	wds    map[uint64]int32
	// waiting counts the LOOKUPs of a directory that wait for the key
	// service. A push would wait for them, and the whole directory for the
	// push: there is none meanwhile, and a second of trust ends by itself.
	waiting map[uint64]int
}

type directory struct {
	id  uint64
	rel string
}

// maxWatches bounds what one mount takes of the user's inotify watches.
const maxWatches = 4096

const watchMask = unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MODIFY | unix.IN_CLOSE_WRITE |
	unix.IN_ATTRIB | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

// NewNames pushes changes of a source. nil: no name is trusted, and none is
// pushed.
func NewNames(src *source.Dir, log *slog.Logger) *Names {
	w := &Names{source: src, dirs: map[int32]directory{}, wds: map[uint64]int32{}, waiting: map[uint64]int{}}
	if src == nil {
		return w
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		log.Info("changes are not pushed; a stat may be one second old after a listing", "error", err)
		return w
	}
	w.file, w.fd = os.NewFile(uintptr(fd), "inotify"), fd // pollable: Close ends Read
	return w
}

// Start begins to push, once the kernel can be spoken to.
func (w *Names) Start(to Notifier) {
	w.mu.Lock()
	w.kernel = to
	file := w.file
	w.mu.Unlock()
	if file != nil {
		go w.run(file)
	}
}

// Add watches a directory of which names are about to be given out.
func (w *Names) Add(id uint64, rel string) (watched bool) {
	w.mu.Lock()
	_, watched = w.wds[id]
	full := w.file == nil || len(w.wds) >= maxWatches
	w.mu.Unlock()
	if watched || full {
		return watched
	}
	dir, err := w.source.OpenDir(rel)
	if err != nil {
		return false
	}
	defer dir.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return false
	}
	wd, err := unix.InotifyAddWatch(w.fd, fmt.Sprintf("/proc/self/fd/%d", dir.FD()), watchMask)
	if err != nil {
		return false
	}
	if old, ok := w.dirs[int32(wd)]; ok {
		delete(w.wds, old.id) // the directory was renamed: one inode, a new path
	}
	w.dirs[int32(wd)], w.wds[id] = directory{id, rel}, int32(wd)
	return true
}

// moved ends the watches at and beneath a path where now something else may
// be. Under w.mu.
func (w *Names) moved(rel string) {
	for wd, dir := range w.dirs {
		if dir.rel == rel || strings.HasPrefix(dir.rel, rel+"/") {
			delete(w.dirs, wd)
			delete(w.wds, dir.id)
			if w.file != nil {
				unix.InotifyRmWatch(w.fd, uint32(wd))
			}
		}
	}
}

func (w *Names) run(file *os.File) {
	buf := make([]byte, 64<<10)
	for {
		n, err := file.Read(buf)
		if err != nil {
			return
		}
		for off := 0; off+unix.SizeofInotifyEvent <= n; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&buf[off]))
			off += unix.SizeofInotifyEvent
			name := string(bytes.TrimRight(buf[off:off+int(e.Len)], "\x00"))
			off += int(e.Len)
			w.push(e, name)
		}
	}
}

// push tells the kernel to ask again for one name. Where events were lost nothing
// need be done: the second of trust ends by itself.
func (w *Names) push(e *unix.InotifyEvent, name string) {
	w.mu.Lock()
	dir, ok := w.dirs[e.Wd]
	if ok && e.Mask&unix.IN_IGNORED != 0 {
		delete(w.dirs, e.Wd)
		delete(w.wds, dir.id)
	}
	if ok && e.Mask&unix.IN_ISDIR != 0 && e.Mask&(unix.IN_MOVED_FROM|unix.IN_MOVED_TO|unix.IN_DELETE|unix.IN_CREATE) != 0 {
		w.moved(source.Join(dir.rel, name))
	}
	k := w.kernel
	ok = ok && w.waiting[dir.id] == 0
	w.mu.Unlock()
	if !ok || k == nil || name == "" {
		return
	}
	if shown, cut := strings.CutSuffix(name, source.Suffix); cut && shown != "" {
		k.EntryNotify(dir.id, shown)
	}
	k.EntryNotify(dir.id, name)
}

// Hold keeps pushes from a directory while a LOOKUP in it waits for the key
// service.
func (w *Names) Hold(dir uint64) (end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting[dir]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.waiting[dir]--; w.waiting[dir] == 0 {
			delete(w.waiting, dir)
		}
	}
}

// Forget makes the kernel ask for one name again.
func (w *Names) Forget(dir uint64, shown string) {
	w.mu.Lock()
	k := w.kernel
	w.mu.Unlock()
	if k != nil && w.source != nil {
		k.EntryNotify(dir, shown)
	}
}

// Close ends the pushing.
func (w *Names) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file != nil {
		w.file.Close()
	}
	w.file, w.kernel = nil, nil
}
