package opening_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// What encrypt made is what the mount serves, byte for byte, with the exact
// size and the default modes.
func TestServesPlaintext(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode)
		for name, plaintext := range map[string]string{
			"pem":        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n",
			"crlf":       "a\r\nb\r\n",
			"signs":      "+/=&%~* \t\"'\\ \x00\x7f",
			"cjk":        "秘密鍵\n",
			"one":        "x",
			"longest":    harness.Lengthy("longest", 6144),
			"no newline": "no newline at the end",
		} {
			harness.Put(t, m.InSource(name+".cipher"), harness.Seal(t, l, plaintext))
			st, err := os.Stat(m.Path(name))
			if err != nil {
				t.Fatal(err)
			}
			if st.Size() != int64(len(plaintext)) || st.Mode() != 0o400 {
				t.Errorf("%s: size %d, mode %v; want %d, 0400", name, st.Size(), st.Mode(), len(plaintext))
			}
			if got := harness.Read(t, m.Path(name)); got != plaintext {
				t.Errorf("%s: got %q, want %q", name, got, plaintext)
			}
			if out, err := l.Kmsfs(nil, "decrypt", m.InSource(name+".cipher")); err != nil || out != plaintext {
				t.Errorf("%s: decrypt gave %q, %v", name, out, err)
			}
		}
		if st, err := os.Stat(m.Point); err != nil || st.Mode() != os.ModeDir|0o500 {
			t.Errorf("the root is %v (%v), want 0500", st.Mode(), err)
		}
	})
}

// White space around the ciphertext does not matter.
func TestWhiteSpaceAroundCiphertext(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "")
	harness.Put(t, m.InSource("a.cipher"), "\n \t"+harness.Seal(t, l, "hello")+"\r\n\n")
	if got := harness.Read(t, m.Path("a")); got != "hello" {
		t.Errorf("got %q", got)
	}
}

// Two hundred readers of a cold file cost one call.
func TestReadersOfAColdFileCostOneCall(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode)
		harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "shared secret"))
		if err := l.ResetCalls(); err != nil {
			t.Fatal(err)
		}
		if err := l.Fault(map[string]any{"action": "Decrypt", "delay": "300ms"}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				if b, err := os.ReadFile(m.Path("a")); err != nil || string(b) != "shared secret" {
					t.Errorf("%q, %v", b, err)
				}
			})
		}
		wg.Wait()
		if n := harness.Decrypts(t, l); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

// The TTL ends what is cached: a later open asks the service again, and so
// does an old descriptor.
func TestOldDescriptorAsksAgainAfterTTL(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "ttl=1s")
		harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "short-lived"))
		f, err := os.Open(m.Path("a"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		buf := make([]byte, 64)
		if _, err := f.ReadAt(buf, 0); err != io.EOF {
			t.Fatal(err)
		}
		if err := l.Fault(map[string]any{"action": "Decrypt", "status": 403, "code": "Forbidden.NoPermission"}); err != nil {
			t.Fatal(err)
		}
		harness.Within(t, 3*time.Second, "nothing readable after the TTL, as the service refuses", func() bool {
			n, err := f.ReadAt(buf, 0)
			if !errors.Is(err, syscall.EACCES) && string(buf[:n]) != "short-lived" {
				t.Fatalf("%q, %v", buf[:n], err)
			}
			return errors.Is(err, syscall.EACCES)
		})
		if _, err := os.ReadFile(m.Path("a")); !errors.Is(err, syscall.EACCES) {
			t.Errorf("open after the TTL: %v, want EACCES", err)
		}
	})
}

// A replaced file is served whole and new at the next open, longer or
// shorter, within the TTL; a descriptor opened before keeps its own version.
func TestReplacedFileIsServedAtTheNextOpen(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "ttl=1h")
		versions := []string{harness.Lengthy("first", 1704), harness.Lengthy("second", 3272), harness.Lengthy("third", 20)}
		var open []*os.File
		for _, v := range versions {
			harness.Put(t, m.InSource("key.cipher"), harness.Seal(t, l, v))
			if mode == "open=fast" {
				harness.WaitRead(t, m.Path("key"), v)
			}
			f, err := os.Open(m.Path("key"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			open = append(open, f)
			if got := harness.Read(t, m.Path("key")); got != v {
				t.Errorf("got %d bytes %.20q, want %d bytes %.20q", len(got), got, len(v), v)
			}
		}
		for i, f := range open {
			st, err := f.Stat()
			if err != nil || st.Size() != int64(len(versions[i])) {
				t.Errorf("version %d: fstat says %d (%v), want %d", i, st.Size(), err, len(versions[i]))
			}
			if b, err := io.ReadAll(f); err != nil || string(b) != versions[i] {
				t.Errorf("version %d through its own descriptor: %.20q, %v", i, b, err)
			}
		}
	})
}

// A stat begun 10 ms after a rename shows the new inode, time and size, also
// right after a listing, whose entries the kernel may keep for a second. On a
// busy machine a push may come later now and then, but never that second.
func TestStatAfterRenameIsOfTheNewFile(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "")
	sizes := []int64{5, 500}
	blobs := []string{harness.Seal(t, l, "short"), harness.Seal(t, l, harness.Lengthy("long", 500))}
	harness.Put(t, m.InSource("key.cipher"), blobs[0])
	const rounds = 10
	inTime := 0
	for i := range rounds {
		if out, err := exec.Command("ls", "-l", m.Point).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		before, err := os.Stat(m.Path("key"))
		if err != nil {
			t.Fatal(err)
		}
		harness.Put(t, m.InSource("key.cipher"), blobs[(i+1)%2])
		renamed, err := os.Stat(m.InSource("key.cipher"))
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(10 * time.Millisecond) // what is claimed is claimed for this moment
		looks := 0
		harness.Within(t, 890*time.Millisecond, "replacement "+harness.Itoa(i)+" has its size, time and inode", func() bool {
			after, err := os.Stat(m.Path("key"))
			if err != nil {
				t.Fatal(err)
			}
			looks++
			return after.Size() == sizes[(i+1)%2] && after.ModTime().Equal(renamed.ModTime()) && !os.SameFile(before, after)
		})
		if looks == 1 {
			inTime++
		}
	}
	if inTime < rounds*6/10 {
		t.Errorf("only %d of %d replacements were seen after 10 ms", inTime, rounds)
	}
}

// Ways to open that walk no path still get the current bytes.
func TestPinnedOpensGetTheCurrentBytes(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "ttl=1h")
	first, second := harness.Seal(t, l, "first version"), harness.Seal(t, l, "the second version")
	harness.Put(t, m.InSource("key.cipher"), first)

	bind := t.TempDir() + "/bound"
	if err := os.WriteFile(bind, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(m.Path("key"), bind, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(bind, unix.MNT_DETACH)
	fd, err := unix.Open(m.Path("key"), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	pinned := os.NewFile(uintptr(fd), "pinned")
	defer pinned.Close()
	held, err := os.Open(m.Path("key"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	link := func(f *os.File) string { return "/proc/self/fd/" + harness.Itoa(f.Fd()) }

	for _, p := range []string{bind, link(pinned), link(held)} {
		if got := harness.Read(t, p); got != "first version" {
			t.Errorf("%s before: %q", p, got)
		}
	}
	harness.Put(t, m.InSource("key.cipher"), second)
	for _, p := range []string{bind, link(pinned), link(held)} {
		if got := harness.Read(t, p); got != "the second version" {
			t.Errorf("%s after: %q", p, got)
		}
	}
	if st, err := held.Stat(); err != nil || st.Size() != int64(len("first version")) {
		t.Errorf("the old descriptor's size: %v, %v", st, err)
	}
	if b, err := io.ReadAll(held); err != nil || string(b) != "first version" {
		t.Errorf("the old descriptor: %q, %v", b, err)
	}
	// Once nobody holds the old version, the attributes follow as well.
	held.Close()
	for _, p := range []string{bind, link(pinned)} {
		if err := harness.ReadAsOneOf(p, []string{"the second version"}); err != nil {
			t.Errorf("%s at last: %v", p, err)
		}
	}
}

// Every change is refused, and says why.
func TestEveryChangeIsRefused(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "")
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "secret"))
	if err := os.Mkdir(m.InSource("d"), 0o700); err != nil {
		t.Fatal(err)
	}
	p := m.Path("a")
	for name, try := range map[string]func() error{
		"write":    func() error { return os.WriteFile(p, []byte("x"), 0o600) },
		"truncate": func() error { return os.Truncate(p, 0) },
		"append":   func() error { f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0); f.Close(); return err },
		"rdwr":     func() error { f, err := os.OpenFile(p, os.O_RDWR, 0); f.Close(); return err },
		"trunc":    func() error { f, err := os.OpenFile(p, os.O_RDONLY|os.O_TRUNC, 0); f.Close(); return err },
		"create":   func() error { return os.WriteFile(m.Path("b"), nil, 0o600) },
		"unlink":   func() error { return os.Remove(p) },
		"rename":   func() error { return os.Rename(p, m.Path("b")) },
		"mkdir":    func() error { return os.Mkdir(m.Path("e"), 0o700) },
		"rmdir":    func() error { return syscall.Rmdir(m.Path("d")) },
		"link":     func() error { return os.Link(p, m.Path("b")) },
		"symlink":  func() error { return os.Symlink("a", m.Path("b")) },
		"mknod":    func() error { return unix.Mknod(m.Path("f"), unix.S_IFIFO|0o600, 0) },
		"chmod":    func() error { return os.Chmod(p, 0o600) },
		"chown":    func() error { return os.Chown(p, 1, 1) },
		"utimes":   func() error { return os.Chtimes(p, time.Now(), time.Now()) },
		"setxattr": func() error { return unix.Setxattr(p, "user.x", []byte("y"), 0) },
	} {
		if err := try(); !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v, want EROFS", name, err)
		}
	}
}

// A private and a shared mapping read the file.
func TestMappingsReadTheFile(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode)
		want := harness.Lengthy("mapped", 5000)
		harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, want))
		f, err := os.Open(m.Path("a"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for name, flags := range map[string]int{"private": unix.MAP_PRIVATE, "shared": unix.MAP_SHARED} {
			b, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ, flags)
			if name == "shared" && err == unix.ENODEV && harness.KernelOlderThan(6, 6) {
				continue // known: no shared mapping of a file that bypasses the page cache
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if !bytes.Equal(b, []byte(want)) {
				t.Errorf("%s mapping differs", name)
			}
			unix.Munmap(b)
		}
	})
}

// Ciphertext that a program made which knows only the SDK is served to
// identical bytes, and the program opens ours.
func TestInteroperates(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "")
	client := harness.Built(t, "integration/sdkclient")
	run := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.Command(client, args...)
		cmd.Env = l.Env()
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("sdkclient %v: %v", args, err)
		}
		return string(out)
	}
	for _, plaintext := range []string{"-----BEGIN X-----\nYWJj\n-----END X-----\n", "a+/=&%~* b\r\n", "机密", harness.Lengthy("max", 6144)} {
		harness.Put(t, m.InSource("theirs.cipher"), run(plaintext, "encrypt", lab.Alias))
		if got := harness.Read(t, m.Path("theirs")); got != plaintext {
			t.Errorf("theirs: %q, want %q", got, plaintext)
		}
		if got := run(harness.Seal(t, l, plaintext), "decrypt"); got != plaintext {
			t.Errorf("ours: %q, want %q", got, plaintext)
		}
	}
}
