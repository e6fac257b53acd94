package opening_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// generations are contents that can be told apart, used again and again.
const generations = 64

// replacing is one way to give a name another content. The name is
// key.cipher; two contents may be the old and the new one.
type replacing struct {
	name string
	// prepare makes the first generation; nil: it writes the file.
	prepare func(dir, content string) error
	replace func(dir, content string) error
	gap     bool // there is a moment at which the name does not exist
}

func writeFile(path, content string) error { return os.WriteFile(path, []byte(content), 0o600) }

// rewrite writes a file in place. In between the thread keeps its processor: a
// writer that is left waiting in the middle of a file for long is another matter than a race.
func rewrite(path, content string) error {
	fd, err := unix.Open(path, unix.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	text := []byte(content)
	_, _, truncated := unix.RawSyscall(unix.SYS_FTRUNCATE, uintptr(fd), 0, 0)
	n, _, written := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)))
	if truncated != 0 || written != 0 || int(n) != len(text) {
		return fmt.Errorf("%d of %d bytes written: %w, %w", n, len(text), truncated, written)
	}
	return nil
}

// waysToReplace are those by which files are deployed.
var waysToReplace = []replacing{
	{name: "rename", replace: func(dir, content string) error {
		return errors.Join(writeFile(dir+"/new", content), os.Rename(dir+"/new", dir+"/key.cipher"))
	}},
	{name: "in place", replace: func(dir, content string) error { return rewrite(dir+"/key.cipher", content) }},
	{name: "through another link", prepare: func(dir, content string) error {
		return errors.Join(writeFile(dir+"/key.cipher", content), os.Link(dir+"/key.cipher", dir+"/other"))
	}, replace: func(dir, content string) error { return rewrite(dir+"/other", content) }},
	{name: "exchange", replace: func(dir, content string) error {
		return errors.Join(writeFile(dir+"/new", content),
			unix.Renameat2(unix.AT_FDCWD, dir+"/new", unix.AT_FDCWD, dir+"/key.cipher", unix.RENAME_EXCHANGE))
	}},
	{name: "delete and make", gap: true, replace: func(dir, content string) error {
		return errors.Join(os.Remove(dir+"/key.cipher"), writeFile(dir+"/new", content), os.Rename(dir+"/new", dir+"/key.cipher"))
	}},
	{name: "another link", prepare: func(dir, content string) error {
		return errors.Join(os.Mkdir(dir+"/v", 0o700), switchLink(dir, content))
	}, replace: switchLink},
	{name: "link, then file", replace: func(dir, content string) error {
		if _, err := os.Readlink(dir + "/key.cipher"); err == nil {
			return errors.Join(writeFile(dir+"/new", content), os.Rename(dir+"/new", dir+"/key.cipher"))
		}
		return switchLink(dir, content)
	}},
	{name: "another directory", prepare: func(dir, content string) error {
		return errors.Join(os.Symlink("now/key.cipher", dir+"/key.cipher"), switchDirectory(dir, content))
	}, replace: switchDirectory},
	{name: "directory, then link to one", prepare: func(dir, content string) error {
		return errors.Join(os.Symlink("now/key.cipher", dir+"/key.cipher"), os.Mkdir(dir+"/now", 0o700), writeFile(dir+"/now/key.cipher", content))
	}, replace: func(dir, content string) error {
		old := dir + "/then"
		if err := errors.Join(os.RemoveAll(old), os.RemoveAll(dir+"/next")); err != nil {
			return err
		}
		if _, err := os.Readlink(dir + "/now"); err == nil { // a directory in place of the link
			return errors.Join(os.Mkdir(dir+"/next", 0o700), writeFile(dir+"/next/key.cipher", content),
				unix.Renameat2(unix.AT_FDCWD, dir+"/next", unix.AT_FDCWD, dir+"/now", unix.RENAME_EXCHANGE), os.Rename(dir+"/next", old))
		}
		target := fmt.Sprintf("to%d", linkCount.Add(1)%8)
		return errors.Join(os.RemoveAll(dir+"/"+target), os.Mkdir(dir+"/"+target, 0o700), writeFile(dir+"/"+target+"/key.cipher", content),
			os.Symlink(target, dir+"/next"), unix.Renameat2(unix.AT_FDCWD, dir+"/next", unix.AT_FDCWD, dir+"/now", unix.RENAME_EXCHANGE), os.Rename(dir+"/next", old))
	}},
}

// switchLink lets the name lead to another file, as certbot does.
func switchLink(dir, content string) error {
	if err := os.MkdirAll(dir+"/v", 0o700); err != nil {
		return err
	}
	name := fmt.Sprintf("v/%x.cipher", linkCount.Add(1)%8)
	return errors.Join(writeFile(dir+"/v/~", content), os.Rename(dir+"/v/~", filepath.Join(dir, name)),
		os.Symlink(name, dir+"/link"), os.Rename(dir+"/link", dir+"/key.cipher"))
}

var linkCount atomic.Int64

// switchDirectory puts another directory in place of the one in which the file is.
func switchDirectory(dir, content string) error {
	if err := errors.Join(os.RemoveAll(dir+"/next"), os.Mkdir(dir+"/next", 0o700), writeFile(dir+"/next/key.cipher", content)); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, dir+"/next", unix.AT_FDCWD, dir+"/now", unix.RENAME_EXCHANGE)
	if err == unix.ENOENT {
		return os.Rename(dir+"/next", dir+"/now")
	}
	return err
}

// An open is never older than its own begin, in whatever way a file is replaced,
// though the kernel trusts its name: what is served was there at some time
// between the begin of open(2) and its end. In open=fast it may be as old as
// news take to come.
func TestOpenIsNeverOlderThanItsBegin(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		var blobs []string
		which := map[string]int{}
		for i := range generations {
			text := harness.Lengthy(fmt.Sprintf("generation %d", i), 100+i*50)
			which[text] = i
			blobs = append(blobs, harness.Seal(t, l, text))
		}
		for _, way := range waysToReplace {
			t.Run(way.name, func(t *testing.T) {
				m := harness.Mount(t, l, inMemory(t), mode, "ttl=1h")
				race(t, m, mode, way, blobs, which)
			})
		}
	})
}

// inMemory is a directory in which no writer waits for a disk.
func inMemory(t *testing.T) string {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "mode=0700,size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// trusted is how long the kernel may take a name for granted: it is told a second,
// and counts in ticks of its clock, of which the longest takes 10 ms.
const trusted = time.Second + 10*time.Millisecond

// places are so many that a file has been left alone for long enough to be
// trusted when its turn comes.
const places = 400

// place is one file that is replaced again and again.
type place struct {
	source, shown string
	begun, done   atomic.Int64 // the generation that is being made, and the one that is there

	mu  sync.Mutex
	end []time.Time // when each generation was replaced
}

func (p *place) replace(way replacing, blobs []string) error {
	next := p.begun.Add(1)
	if err := way.replace(p.source, blobs[next%generations]); err != nil {
		return err
	}
	p.mu.Lock()
	p.end = append(p.end, time.Now())
	p.mu.Unlock()
	p.done.Store(next)
	return nil
}

func (p *place) endOf(generation int64) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end[generation]
}

// race replaces the file of one place after the other. Two readers open the
// one whose turn it is, and make the kernel know the one whose turn comes.
func race(t *testing.T, m *harness.Mounted, mode string, way replacing, blobs []string, which map[string]int) {
	all := make([]*place, places)
	for i := range all {
		dir := fmt.Sprint(i)
		all[i] = &place{source: m.InSource(dir), shown: m.Path(dir + "/key")}
		prepare := way.prepare
		if prepare == nil {
			prepare = func(dir, content string) error { return writeFile(dir+"/key.cipher", content) }
		}
		if err := errors.Join(os.Mkdir(all[i].source, 0o700), prepare(all[i].source, blobs[0])); err != nil {
			t.Fatal(err)
		}
	}
	var turn, opens, missing, old atomic.Int64
	var stop atomic.Bool
	var reading sync.WaitGroup
	for range 2 {
		reading.Go(func() {
			for !stop.Load() {
				i := turn.Load()
				if _, err := os.Stat(all[(i+1)%places].shown); err != nil && !way.gap {
					t.Errorf("stat: %v", err)
					return
				}
				p := all[i%places]
				before, at := p.done.Load(), time.Now()
				got, err := os.ReadFile(p.shown)
				after := p.begun.Load()
				opens.Add(1)
				if way.gap && errors.Is(err, fs.ErrNotExist) {
					missing.Add(1)
					continue
				}
				if err != nil {
					t.Errorf("open of generation %d to %d: %v", before, after, err)
					return
				}
				g, known := which[string(got)]
				if !known {
					t.Errorf("%d bytes that are no generation: %.40q", len(got), got)
					return
				}
				served := after - (after-int64(g)+generations)%generations // the latest one that it can be
				if served >= before {
					continue
				}
				old.Add(1)
				if age := at.Sub(p.endOf(max(0, served))); mode != "open=fast" || age > trusted {
					t.Errorf("an open that began when generation %d was there served %d, replaced %v before", before, served, age)
					return
				}
			}
		})
	}
	defer harness.Undisturbed(t)()
	races := 10_000
	if *harness.AsService {
		races = 1000 // a service is the same process under another parent
	}
	for range races / len(waysToReplace) {
		i := turn.Load()
		if err := all[i%places].replace(way, blobs); err != nil {
			t.Error(err)
			break
		}
		for seen := opens.Load(); opens.Load() < seen+2 && !t.Failed(); {
			time.Sleep(20 * time.Microsecond) // until somebody has opened it, too
		}
		if t.Failed() {
			break
		}
		turn.Add(1)
	}
	stop.Store(true)
	reading.Wait()
	t.Logf("%d opens, %d replacements, %d found nothing, %d old", opens.Load(), turn.Load(), missing.Load(), old.Load())
}
