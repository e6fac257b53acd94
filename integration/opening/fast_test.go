package opening_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// A cached open, read and close need no answer: they succeed while the process
// that serves stands still.
func TestFastSendsNoMessage(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "open=fast", "ttl=1h")
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "in the page cache"))
	process, err := os.FindProcess(m.PID)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 { // the kernel asks for the name once a second, perhaps just now
		harness.Read(t, m.Path("a"))
		if err := process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 1)
		go func() { b, err := os.ReadFile(m.Path("a")); got <- string(b) + errorText(err) }()
		var s string
		select {
		case s = <-got:
		case <-time.After(time.Second):
		}
		process.Signal(syscall.SIGCONT)
		if s == "in the page cache" {
			return
		}
		if s = <-got; s != "in the page cache" {
			t.Fatalf("reads %q", s)
		}
	}
	t.Error("every read waited for the process")
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// After the TTL no page can be read, also when nobody is left to drop it.
func TestFastReadsNothingAfterTTLAndKill(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "open=fast", "ttl=2s")
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "short-lived"))
	f, err := os.Open(m.Path("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 64)
	if n, err := f.ReadAt(buf, 0); string(buf[:n]) != "short-lived" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	m.Kill(t)
	harness.Within(t, 4*time.Second, "nothing readable after the TTL", func() bool {
		n, err := f.ReadAt(buf, 0)
		if errors.Is(err, syscall.ENOTCONN) {
			return true
		}
		if string(buf[:n]) != "short-lived" || err != io.EOF {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		return false
	})
}

// Whatever way a file is replaced, the new version shows whole: in open=checked
// at the next open, in open=fast soon.
func TestReplacedInAnyWayShowsWhole(t *testing.T) { harness.EachMode(t, testReplacedInAnyWay) }

func testReplacedInAnyWay(t *testing.T, mode string) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", mode, "ttl=1h")
	texts := []string{harness.Lengthy("first", 100), harness.Lengthy("other", 100), harness.Lengthy("longer", 3000)}
	var blobs []string
	for _, s := range texts {
		blobs = append(blobs, harness.Seal(t, l, s))
	}
	write := func(path string, i int) {
		t.Helper()
		if err := os.WriteFile(path, []byte(blobs[i]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		file    string // below the mount
		prepare func()
		replace func(i int)
	}{
		{"rename", "a", func() { harness.Put(t, m.InSource("a.cipher"), blobs[0]) }, func(i int) { harness.Put(t, m.InSource("a.cipher"), blobs[i]) }},
		{"in place", "b", func() { write(m.InSource("b.cipher"), 0) }, func(i int) { write(m.InSource("b.cipher"), i) }},
		{"link", "c", func() {
			write(m.InSource("c0.cipher"), 0)
			write(m.InSource("c1.cipher"), 1)
			write(m.InSource("c2.cipher"), 2)
			if err := os.Symlink("c0.cipher", m.InSource("c.cipher")); err != nil {
				t.Fatal(err)
			}
		}, func(i int) {
			if err := os.Symlink("c"+harness.Itoa(i)+".cipher", m.InSource("new")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(m.InSource("new"), m.InSource("c.cipher")); err != nil {
				t.Fatal(err)
			}
		}},
		{"directory", "d/f", func() {
			if err := os.Mkdir(m.InSource("d"), 0o700); err != nil {
				t.Fatal(err)
			}
			write(m.InSource("d/f.cipher"), 0)
		}, func(i int) {
			if err := os.Mkdir(m.InSource("new"), 0o700); err != nil {
				t.Fatal(err)
			}
			write(m.InSource("new/f.cipher"), i)
			if err := unix.Renameat2(unix.AT_FDCWD, m.InSource("new"), unix.AT_FDCWD, m.InSource("d"), unix.RENAME_EXCHANGE); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(m.InSource("new")); err != nil {
				t.Fatal(err)
			}
		}},
		{"old mapping", "e", func() { write(m.InSource("e.cipher"), 0) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.prepare()
			if c.replace == nil {
				c.replace = mapped(t, m.InSource(c.file+".cipher"), blobs)
			}
			harness.WaitRead(t, m.Path(c.file), texts[0])
			for _, i := range []int{1, 2, 1, 2} {
				if len(blobs[i]) != len(blobs[0]) && c.name == "old mapping" {
					continue
				}
				old, err := os.Open(m.Path(c.file))
				if err != nil {
					t.Fatal(err)
				}
				before, err := io.ReadAll(io.NewSectionReader(old, 0, 1<<16))
				if err != nil {
					t.Fatal(err)
				}
				c.replace(i)
				if mode == "open=checked" {
					if got := harness.Read(t, m.Path(c.file)); got != texts[i] {
						t.Errorf("the next open reads %.30q", got)
					}
				}
				waitVersion(t, m.Path(c.file), texts, i)
				if after, err := io.ReadAll(old); err != nil || string(after) != string(before) {
					t.Errorf("the old descriptor reads %.30q, %v; it had %.30q", after, err, before)
				}
				old.Close()
			}
		})
	}
	// Names that were not there a moment ago.
	for range 20 {
		if _, err := os.Stat(m.Path("late")); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("stat: %v", err)
		}
		harness.Put(t, m.InSource("late.cipher"), blobs[0])
		harness.Eventually(t, "the new file shows", func() bool {
			b, err := os.ReadFile(m.Path("late"))
			return err == nil && string(b) == texts[0]
		})
		os.Remove(m.InSource("late.cipher"))
		harness.Eventually(t, "the removed file shows no more", func() bool {
			_, err := os.Stat(m.Path("late"))
			return errors.Is(err, os.ErrNotExist)
		})
	}
}

// waitVersion waits for version i, and accepts nothing but whole versions
// meanwhile.
func waitVersion(t *testing.T, path string, texts []string, i int) {
	t.Helper()
	harness.Within(t, time.Second+harness.DropSlack, "version "+harness.Itoa(i)+" shows", func() bool {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(b) != texts[i] && !strings.HasPrefix(strings.Join(texts, ""), string(b)) && string(b) != texts[1] && string(b) != texts[2] {
			t.Fatalf("%d bytes that are no version: %.40q", len(b), b)
		}
		return string(b) == texts[i]
	})
}

// mapped writes through a mapping that was made before.
func mapped(t *testing.T, path string, blobs []string) func(i int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, len(blobs[0]), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	return func(i int) { copy(b, blobs[i]) }
}

// What the service refuses of a key version ends all pages that it opened,
// long before their TTL.
func TestFastRefusalDropsPages(t *testing.T) {
	l := harness.NewLab(t)
	key := harness.OtherKey(t, l)
	m := harness.Mount(t, l, "", "open=fast", "ttl=1h")
	for _, name := range []string{"a", "b", "c"} {
		harness.Put(t, m.InSource(name+".cipher"), harness.SealWith(t, l, "secret "+name, "--key", key))
	}
	for _, name := range []string{"a", "b"} {
		if got := harness.Read(t, m.Path(name)); got != "secret "+name {
			t.Fatalf("reads %q", got)
		}
	}
	if _, err := l.Kmsfs(nil, "disable-key", key); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(m.Path("c")); !errors.Is(err, syscall.EKEYREVOKED) {
		t.Fatalf("%q, %v; want EKEYREVOKED", b, err)
	}
	for _, name := range []string{"a", "b"} {
		harness.Eventually(t, name+" is refused", func() bool {
			_, err := os.ReadFile(m.Path(name))
			if err != nil && !errors.Is(err, syscall.EKEYREVOKED) {
				t.Fatalf("%s: %v; want EKEYREVOKED", name, err)
			}
			return err != nil
		})
	}
}

// direct_io is a promise that open=fast could not keep.
func TestFastRefusesDirectIO(t *testing.T) {
	l := harness.NewLab(t)
	out, err := l.Command("mount", "-f", "-o", "direct_io,open=fast", t.TempDir(), filepath.Clean(t.TempDir())).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "exclude each other") || !strings.Contains(string(out), "hint: ") {
		t.Errorf("%v\n%s", err, out)
	}
}
