package integration_test

import (
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// together runs subtests at the same time: these wait much more than they work.
func together(t *testing.T, tests map[string]func(*testing.T)) {
	var wg sync.WaitGroup
	for name, test := range tests {
		wg.Go(func() { t.Run(name, test) })
	}
	wg.Wait()
}

// dropSlack is how much later than its TTL a page may leave the kernel on a busy
// machine, while kmsfs lives.
const dropSlack = 3 * time.Second

// readSlack is that of reads: they use pages in one mode only.
func readSlack(mode string) time.Duration {
	if mode == "open=fast" {
		return dropSlack
	}
	return 0
}

// way is one way to get at a plaintext that was read before.
type way struct {
	name string
	get  func() (first string, err error)
}

// fourWays puts a file for each way to read, and reads it by it.
func fourWays(t *testing.T, l *lab.Lab, m *mounted) []way {
	t.Helper()
	for _, name := range []string{"descriptor", "open", "shared", "private"} {
		put(t, m.source(name+".cipher"), seal(t, l, name))
	}
	old, err := os.Open(m.path("descriptor"))
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
			b, err := os.ReadFile(m.path("open"))
			return string(b[:min(1, len(b))]), err
		}},
	}
	for _, how := range []string{"shared", "private"} {
		if how == "shared" && kernelOlderThan(6, 6) {
			continue // known: no shared mapping of a file that bypasses the page cache
		}
		p := mapFile(t, how, m.path(how))
		ways = append(ways, way{how, func() (string, error) {
			s := p.touch()
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
func TestExpiry(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		const ttl = 2 * time.Second
		l := newLab(t)
		m := mount(t, l, "", mode, "ttl="+ttl.String(), "refresh=0s")
		key := (&failing{T: t, Lab: l}).keyOfAlias()
		ways := fourWays(t, l, m)
		if n := decrypts(t, l); n != len(ways) {
			t.Fatalf("%d calls for %d files", n, len(ways))
		}
		time.Sleep(ttl)
		for i, w := range ways {
			calls := decrypts(t, l)
			begun := time.Now()
			for decrypts(t, l) == calls { // a page may go a little late
				got, err := w.get()
				if err != nil || got != w.name[:1] {
					t.Fatalf("%s, after the TTL: %q, %v", w.name, got, err)
				}
				slack := dropSlack
				if i < 2 {
					slack = readSlack(mode)
				}
				if time.Since(begun) > slack && decrypts(t, l) == calls {
					t.Fatalf("%s, after the TTL: served without a call", w.name)
				}
			}
		}
		if _, err := l.Kmsfs(nil, "disable-key", key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(ttl)
		for i, w := range ways {
			begun := time.Now()
			got, err := w.get()
			for (i >= 2 || mode == "open=fast") && err == nil && time.Since(begun) < dropSlack {
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
			eventually(t, w.name+" reads with the key enabled", func() bool { // the refusal is remembered for a second
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
	eachMode(t, func(t *testing.T, mode string) {
		const ttl = 2 * time.Second
		l := newLab(t)
		m := mount(t, l, "", mode, "ttl="+ttl.String())
		ways := fourWays(t, l, m)
		socket := socketOf(t, m.Point)
		m.crash()
		defer os.Remove(socket)
		defer syscall.Unmount(m.Point, syscall.MNT_DETACH)
		if mode == "open=fast" {
			time.Sleep(ttl)
		}
		for _, w := range ways[:2] {
			if got, err := w.get(); !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
				t.Errorf("%s, after a crash: %q, %v", w.name, got, err)
			}
		}
	})
}

// splice takes pages from the kernel without asking for attributes, and so
// would get them from a dead process for ever. In open=checked none is left
// longer than a moment.
func TestCrashEndsSplice(t *testing.T) {
	l := newLab(t)
	m := mount(t, l, "", "ttl=1h")
	put(t, m.source("a.cipher"), seal(t, l, "spliced"))
	f, err := os.Open(m.path("a"))
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
	time.Sleep(dropSlack)
	socket := socketOf(t, m.Point)
	m.crash()
	defer os.Remove(socket)
	defer syscall.Unmount(m.Point, syscall.MNT_DETACH)
	if got, err := splice(); !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
		t.Errorf("after a crash: %q, %v", got, err)
	}
}

// Somebody who reads all the time, and keeps the file open, gets a new load
// each TTL all the same.
func TestUseDoesNotStretchTTL(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		const ttl = 2 * time.Second
		l := newLab(t)
		m := mount(t, l, "", mode, "ttl="+ttl.String(), "refresh=0s")
		put(t, m.source("a.cipher"), seal(t, l, "in constant use"))
		before := time.Now()
		read(t, m.path("a"))
		f, err := os.Open(m.path("a"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		// No TTL can be over before its length has passed since the load
		// before it. And one that is over is seen by the next read.
		calls, last := decrypts(t, l), time.Now()
		for reloads := 0; reloads < 4; {
			begun := time.Now()
			b := make([]byte, 64)
			if n, _ := f.ReadAt(b, 0); string(b[:n]) != "in constant use" {
				t.Fatalf("reads %q", b[:n])
			}
			if got := read(t, m.path("a")); got != "in constant use" {
				t.Fatalf("reads %q", got)
			}
			switch n := decrypts(t, l); {
			case n > calls:
				if d := time.Since(before); d < ttl {
					t.Fatalf("loaded anew after %v", d)
				}
				reloads++
				calls, before, last = n, begun, time.Now()
			case begun.Sub(last) > ttl+readSlack(mode):
				t.Fatalf("read %v after a load, without a call", begun.Sub(last))
			}
		}
	})
}

// What was read once costs one call, however long the mount lives; what was
// read again and then left alone one more.
func TestIdleFileIsNotRefreshed(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		l := newLab(t)
		m := mount(t, l, "", mode, "ttl=8s")
		for _, name := range []string{"once", "again"} {
			put(t, m.source(name+".cipher"), seal(t, l, name))
			read(t, m.path(name))
		}
		time.Sleep(5500 * time.Millisecond) // past the moment at which a reload is due
		read(t, m.path("again"))
		eventually(t, "the file that was read again is loaded again, and all are gone", func() bool {
			s := asked(t, l, m.Point).Cache
			return s.Refreshes == 1 && s.Entries == 0 && s.Loading == 0
		})
		time.Sleep(3 * time.Second)
		if s := asked(t, l, m.Point).Cache; s.Loads != 3 || decrypts(t, l) != 3 {
			t.Errorf("%d loads, want 3", s.Loads)
		}
	})
}

// A file in use never waits for the service, slow as it may be.
func TestBusyFileNeverWaits(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		l := newLab(t)
		m := mount(t, l, "", mode, "ttl=4s")
		if err := l.Fault(map[string]any{"action": "Decrypt", "delay": "800ms"}); err != nil {
			t.Fatal(err)
		}
		put(t, m.source("a.cipher"), seal(t, l, "busy"))
		for begun := time.Now(); decrypts(t, l) < 5; time.Sleep(20 * time.Millisecond) {
			if got := read(t, m.path("a")); got != "busy" {
				t.Fatalf("reads %q", got)
			}
			if time.Since(begun) > 2*patience {
				t.Fatalf("no reloads: %+v", asked(t, l, m.Point).Cache)
			}
		}
		if s := asked(t, l, m.Point).Cache; s.Misses != 1 || s.Refreshes < 4 {
			t.Errorf("a reader waited: %+v", s)
		}
	})
}

// A reload in the background that learns that the key is disabled takes
// everything of that key away, also what nobody has asked for since.
func TestRefusedRefreshPurges(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		l := newLab(t)
		m := mount(t, l, "", mode, "ttl=20s", "refresh=10s")
		key := (&failing{T: t, Lab: l}).keyOfAlias()
		put(t, m.source("busy.cipher"), seal(t, l, "busy"))
		put(t, m.source("fresh.cipher"), seal(t, l, "fresh"))
		put(t, m.source("other.cipher"), sealWith(t, l, "other", "--key", otherKey(t, l)))
		begun := time.Now()
		for _, name := range []string{"busy", "fresh", "other"} {
			read(t, m.path(name))
		}
		if _, err := l.Kmsfs(nil, "disable-key", key); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the reload was refused and has taken both away", func() bool {
			os.ReadFile(m.path("busy"))
			s := asked(t, l, m.Point)
			return s.Refusals > 0 && s.Cache.Entries == 1
		})
		if d := time.Since(begun); d > 20*time.Second {
			t.Fatalf("after %v the TTL had ended anyway", d)
		}
		for _, name := range []string{"busy", "fresh"} {
			if b, err := os.ReadFile(m.path(name)); !errors.Is(err, syscall.EKEYREVOKED) {
				t.Errorf("%s: %q, %v; want EKEYREVOKED", name, b, err)
			}
		}
		if got := read(t, m.path("other")); got != "other" {
			t.Errorf("of another key: %q", got)
		}
		if strings.Contains(m.Log(), "stale") {
			t.Error("something was served stale")
		}
	})
}
