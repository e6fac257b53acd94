package lifetime_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// way is one way to get at a plaintext that was read before.
type way struct {
	name string
	get  func() (first string, err error)
}

// fourWays puts a file for each way to read, and reads it by it.
func fourWays(t *testing.T, l *lab.Lab, m *harness.Mounted) []way {
	t.Helper()
	for _, name := range []string{"descriptor", "open", "shared", "private"} {
		harness.Put(t, m.InSource(name+".cipher"), harness.Seal(t, l, name))
	}
	old, err := os.Open(m.Path("descriptor"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { old.Close() })
	ways := []way{
		{"descriptor", func() (string, error) {
			b := make([]byte, 1)
			_, err := old.ReadAt(b, 0)
			return string(b), err
		}},
		{"open", func() (string, error) {
			b, err := os.ReadFile(m.Path("open"))
			return string(b[:min(1, len(b))]), err
		}},
	}
	for _, how := range []string{"shared", "private"} {
		if how == "shared" && harness.KernelOlderThan(6, 6) {
			continue // known: no shared mapping of a file that bypasses the page cache
		}
		p := harness.MapFile(t, how, m.Path(how))
		ways = append(ways, way{how, func() (string, error) {
			s := p.Touch()
			if s == "SIGBUS" {
				return "", syscall.EFAULT
			}
			return s, nil
		}})
	}
	for _, w := range ways {
		if got, err := w.get(); err != nil || got != w.name[:1] {
			t.Fatalf("%s: %q, %v", w.name, got, err)
		}
	}
	return ways
}

// When the TTL is over, each way to what was read leads to the key service,
// and to nothing when that refuses.
func TestTTLEndsEachWayToRead(t *testing.T) {
	harness.EachModeAtOnce(t, func(t *testing.T, mode string) {
		const ttl = 2 * time.Second
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "ttl="+ttl.String(), "refresh=0s")
		key := harness.KeyOfAlias(t, l)
		ways := fourWays(t, l, m)
		if n := harness.Decrypts(t, l); n != len(ways) {
			t.Fatalf("%d calls for %d files", n, len(ways))
		}
		expired := func() bool { return harness.StatusOf(t, l, m.Point).Cache.Entries == 0 }
		harness.Eventually(t, "the TTL is over", expired)
		for i, w := range ways {
			calls := harness.Decrypts(t, l)
			begun := time.Now()
			for harness.Decrypts(t, l) == calls { // a page may go a little late
				got, err := w.get()
				if err != nil || got != w.name[:1] {
					t.Fatalf("%s, after the TTL: %q, %v", w.name, got, err)
				}
				slack := harness.DropSlack
				if i < 2 {
					slack = harness.ReadSlack(mode)
				}
				if time.Since(begun) > slack && harness.Decrypts(t, l) == calls {
					t.Fatalf("%s, after the TTL: served without a call", w.name)
				}
			}
		}
		if _, err := l.Kmsfs(nil, "disable-key", key); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the TTL is over once more", expired)
		for i, w := range ways {
			begun := time.Now()
			got, err := w.get()
			for (i >= 2 || mode == "open=fast") && err == nil && time.Since(begun) < harness.DropSlack {
				got, err = w.get()
			}
			want := syscall.EKEYREVOKED
			if i >= 2 {
				want = syscall.EFAULT
			}
			if !errors.Is(err, want) {
				t.Errorf("%s, after the TTL and with the key disabled: %q, %v; want %v", w.name, got, err, want)
			}
		}
		if _, err := l.Kmsfs(nil, "enable-key", key); err != nil {
			t.Fatal(err)
		}
		for _, w := range ways {
			harness.Eventually(t, w.name+" reads with the key enabled", func() bool { // the refusal is remembered for a second
				got, err := w.get()
				if err == nil && got != w.name[:1] {
					t.Fatalf("%s reads %q", w.name, got)
				}
				return err == nil
			})
		}
	})
}

// After a crash neither an old descriptor nor a new open gets anything past the
// TTL; without pages, not even before. A page that a process has mapped stays
// its own.
func TestCrashEndsReads(t *testing.T) {
	harness.EachModeAtOnce(t, func(t *testing.T, mode string) {
		const ttl = 2 * time.Second
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "ttl="+ttl.String())
		ways := fourWays(t, l, m)
		socket := harness.SocketOf(t, m.Point)
		m.Crash()
		crashed := time.Now()
		defer os.Remove(socket)
		defer syscall.Unmount(m.Point, syscall.MNT_DETACH)
		limit := time.Duration(0)
		if mode == "open=fast" {
			limit = ttl
		}
		for _, w := range ways[:2] {
			harness.Within(t, time.Until(crashed.Add(limit)), w.name+" reads nothing after a crash", func() bool {
				_, err := w.get()
				return errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.ECONNABORTED)
			})
		}
	})
}

// splice takes pages from the kernel without asking for attributes, and so
// would get them from a dead process for ever. In open=checked none is left
// longer than a moment.
func TestCrashEndsSplice(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "ttl=1h")
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "spliced"))
	f, err := os.Open(m.Path("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	splice := func() (string, error) {
		var off int64
		n, err := unix.Splice(int(f.Fd()), &off, pipe[1], nil, 64, 0)
		if err != nil {
			return "", err
		}
		b := make([]byte, n)
		_, err = unix.Read(pipe[0], b)
		return string(b), err
	}
	if got, err := splice(); err != nil || got != "spliced" {
		t.Fatalf("%q, %v", got, err)
	}
	page, err := unix.Mmap(int(f.Fd()), 0, len("spliced"), unix.PROT_READ, unix.MAP_PRIVATE) // never touched: it only asks for the page
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page)
	harness.Within(t, harness.DropSlack, "the page has left the kernel", func() bool { return !resident(t, page) })
	socket := harness.SocketOf(t, m.Point)
	m.Crash()
	defer os.Remove(socket)
	defer syscall.Unmount(m.Point, syscall.MNT_DETACH)
	if got, err := splice(); !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
		t.Errorf("after a crash: %q, %v", got, err)
	}
}

// Somebody who reads all the time, and keeps the file open, gets a new load
// each TTL all the same.
func TestUseDoesNotStretchTTL(t *testing.T) {
	harness.EachModeAtOnce(t, func(t *testing.T, mode string) {
		const ttl = 2 * time.Second
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "ttl="+ttl.String(), "refresh=0s")
		harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "in constant use"))
		before := time.Now()
		harness.Read(t, m.Path("a"))
		f, err := os.Open(m.Path("a"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		// No TTL can be over before its length has passed since the load
		// before it. And one that is over is seen by the next read.
		calls, last := harness.Decrypts(t, l), time.Now()
		for reloads := 0; reloads < 4; {
			begun := time.Now()
			b := make([]byte, 64)
			if n, _ := f.ReadAt(b, 0); string(b[:n]) != "in constant use" {
				t.Fatalf("reads %q", b[:n])
			}
			if got := harness.Read(t, m.Path("a")); got != "in constant use" {
				t.Fatalf("reads %q", got)
			}
			switch n := harness.Decrypts(t, l); {
			case n > calls:
				if d := time.Since(before); d < ttl {
					t.Fatalf("loaded anew after %v", d)
				}
				reloads++
				calls, before, last = n, begun, time.Now()
			case begun.Sub(last) > ttl+harness.ReadSlack(mode):
				t.Fatalf("read %v after a load, without a call", begun.Sub(last))
			}
		}
	})
}

// What was read once costs one call, however long the mount lives; what was
// read again and then left alone one more.
func TestIdleFileIsNotRefreshed(t *testing.T) {
	t.Parallel() // it waits much more than it works
	harness.EachModeAtOnce(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "ttl=8s")
		for _, name := range []string{"once", "again"} {
			harness.Put(t, m.InSource(name+".cipher"), harness.Seal(t, l, name))
			harness.Read(t, m.Path(name))
		}
		harness.Eventually(t, "the file that is read again is loaded again", func() bool {
			if harness.StatusOf(t, l, m.Point).Cache.Refreshes > 0 {
				return true // and it is left alone
			}
			harness.Read(t, m.Path("again"))
			return false
		})
		harness.Eventually(t, "all are gone", func() bool { // and nothing is left that could be loaded again
			s := harness.StatusOf(t, l, m.Point).Cache
			return s.Entries == 0 && s.Loading == 0
		})
		if s := harness.StatusOf(t, l, m.Point).Cache; s.Loads != 3 || harness.Decrypts(t, l) != 3 {
			t.Errorf("%d loads, want 3", s.Loads)
		}
	})
}

// A file in use never waits for the service, slow as it may be.
func TestBusyFileNeverWaits(t *testing.T) {
	t.Parallel() // it waits much more than it works
	harness.EachModeAtOnce(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "ttl=4s")
		if err := l.Fault(map[string]any{"action": "Decrypt", "delay": "800ms"}); err != nil {
			t.Fatal(err)
		}
		harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "busy"))
		harness.Within(t, 2*harness.Patience, "four reloads", func() bool {
			if got := harness.Read(t, m.Path("a")); got != "busy" {
				t.Fatalf("reads %q", got)
			}
			return harness.Decrypts(t, l) >= 5
		}, func() string { return fmt.Sprintf("%+v", harness.StatusOf(t, l, m.Point).Cache) })
		if s := harness.StatusOf(t, l, m.Point).Cache; s.Misses != 1 || s.Refreshes < 4 {
			t.Errorf("a reader waited: %+v", s)
		}
	})
}

// A reload in the background that learns that the key is disabled takes
// everything of that key away, also what nobody has asked for since.
func TestRefusedRefreshPurges(t *testing.T) {
	t.Parallel() // it waits much more than it works
	harness.EachModeAtOnce(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "ttl=20s", "refresh=10s")
		key := harness.KeyOfAlias(t, l)
		harness.Put(t, m.InSource("busy.cipher"), harness.Seal(t, l, "busy"))
		harness.Put(t, m.InSource("fresh.cipher"), harness.Seal(t, l, "fresh"))
		harness.Put(t, m.InSource("other.cipher"), harness.SealWith(t, l, "other", "--key", harness.OtherKey(t, l)))
		begun := time.Now()
		for _, name := range []string{"busy", "fresh", "other"} {
			harness.Read(t, m.Path(name))
		}
		if _, err := l.Kmsfs(nil, "disable-key", key); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the reload was refused and has taken both away", func() bool {
			os.ReadFile(m.Path("busy"))
			s := harness.StatusOf(t, l, m.Point)
			return s.Refusals > 0 && s.Cache.Entries == 1
		})
		if d := time.Since(begun); d > 20*time.Second {
			t.Fatalf("after %v the TTL had ended anyway", d)
		}
		for _, name := range []string{"busy", "fresh"} {
			harness.Within(t, harness.ReadSlack(mode), name+" is refused", func() bool { // fast: once its pages have gone
				_, err := os.ReadFile(m.Path(name))
				return errors.Is(err, syscall.EKEYREVOKED)
			})
		}
		if got := harness.Read(t, m.Path("other")); got != "other" {
			t.Errorf("of another key: %q", got)
		}
		if strings.Contains(m.Log(), "stale") {
			t.Error("something was served stale")
		}
	})
}
