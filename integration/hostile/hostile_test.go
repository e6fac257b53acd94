package hostile_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// What is no ciphertext is refused by itself, without a call, and hurts
// nobody else.
func TestWhatIsNoCiphertextIsRefusedByItself(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode)
		good := harness.Seal(t, l, "neighbour")
		harness.Put(t, m.InSource("good.cipher"), good)
		for name, content := range map[string]string{
			"empty":     "",
			"html":      "<html><body>502 Bad Gateway</body></html>\n",
			"cut":       good[:len(good)-5],
			"pem":       "-----BEGIN PRIVATE KEY-----\n",
			"two":       good + "\n" + good,
			"age":       "age-encryption.org/v1\n-> X25519 abc\n",
			"armored":   "-----BEGIN AGE ENCRYPTED FILE-----\n",
			"long":      strings.Repeat("A", 70000),
			"json":      `{"CiphertextBlob":"` + good + `"}`,
			"only text": "hello",
		} {
			harness.Put(t, m.InSource(name+".cipher"), content)
		}
		old := time.Now().Add(-time.Hour)
		entries, err := os.ReadDir(m.Point)
		if err != nil || len(entries) != 11 {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		if err := l.ResetCalls(); err != nil {
			t.Fatal(err)
		}
		reader := harness.NewReader(t)
		for _, e := range entries {
			if e.Name() == "good" {
				continue
			}
			st, err := os.Stat(m.InSource(e.Name() + ".cipher"))
			if err != nil {
				t.Fatal(err)
			}
			os.Chtimes(m.InSource(e.Name()+".cipher"), old, old)
			size := st.Size()
			if mode == "open=fast" {
				size = min(max(size, 1), 64<<10+1) // read by the kernel, and never as nothing
			}
			if shown, err := os.Stat(m.Path(e.Name())); err != nil || shown.Size() != size {
				t.Errorf("%s: shown with %v, %v; want the size of the ciphertext file, %d", e.Name(), shown, err, size)
			}
			if b, err := reader.Read(m.Path(e.Name()), 2*time.Second); !errors.Is(err, syscall.EBADMSG) {
				t.Errorf("%s: %q, %v; want EBADMSG", e.Name(), b, err)
			}
			m.WaitLog(t, "level=WARN", "result=", "not a ciphertext", e.Name()[:3])
		}
		if n := harness.TotalCalls(t, l); n != 0 {
			t.Errorf("%d calls for files that are no ciphertext", n)
		}
		if got := harness.Read(t, m.Path("good")); got != "neighbour" {
			t.Errorf("the neighbour reads %q", got)
		}
	})
}

// Special files under a ciphertext's name neither block nor show.
func TestSpecialFilesNeitherBlockNorShow(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "plain=show")
	harness.Put(t, m.InSource("good.cipher"), harness.Seal(t, l, "neighbour"))
	for _, suffix := range []string{".cipher", ""} {
		if err := unix.Mkfifo(m.InSource("fifo"+suffix), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mknod(m.InSource("null"+suffix), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: m.InSource("socket" + suffix)}); err != nil {
			t.Fatal(err)
		}
	}
	reader := harness.NewReader(t)
	for _, name := range []string{"fifo", "null", "socket"} {
		if _, err := reader.Read(m.Path(name), time.Second); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want ENOENT", name, err)
		}
	}
	if entries, err := os.ReadDir(m.Point); err != nil || len(entries) != 1 {
		t.Errorf("listed: %v, %v", entries, err)
	}
	if got := harness.Read(t, m.Path("good")); got != "neighbour" {
		t.Errorf("the neighbour reads %q", got)
	}
}

// A file of 8 EiB is not read, and costs neither memory nor time.
func TestHugeSparseFileIsNotRead(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode)
		harness.Put(t, m.InSource("good.cipher"), harness.Seal(t, l, "neighbour"))
		f, err := os.Create(m.InSource("huge.cipher"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		size := int64(1<<63 - 1)
		for size > 1<<40 && f.Truncate(size) != nil {
			size >>= 1 // the file system's own limit
		}
		os.Chtimes(f.Name(), time.Unix(0, 0), time.Unix(0, 0))
		if _, err := harness.NewReader(t).Read(m.Path("huge"), time.Second); !errors.Is(err, syscall.EBADMSG) {
			t.Errorf("%v, want EBADMSG", err)
		}
		if mode == "open=fast" {
			size = 64<<10 + 1 // the open succeeds, and readers make room for what stat says
		}
		if st, err := os.Stat(m.Path("huge")); err != nil || st.Size() != size {
			t.Errorf("size %v, %v; want %d", st, err, size)
		}
		if got := harness.Read(t, m.Path("good")); got != "neighbour" {
			t.Errorf("the neighbour reads %q", got)
		}
		status := harness.Read(t, "/proc/"+harness.Itoa(m.PID)+"/status")
		var rss int
		for line := range strings.Lines(status) {
			fmt.Sscanf(line, "VmRSS: %d", &rss)
		}
		if rss == 0 || rss > 100<<10 {
			t.Errorf("resident memory is %d KiB", rss)
		}
	})
}

// A write lease on the file, which makes an ordinary open wait for up to 45 s,
// fails that open at once and no other.
func TestLeasedFileFailsAtOnce(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "")
	harness.Put(t, m.InSource("good.cipher"), harness.Seal(t, l, "neighbour"))
	harness.Put(t, m.InSource("leased.cipher"), harness.Seal(t, l, "leased"))
	f, err := os.OpenFile(m.InSource("leased.cipher"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if _, err := harness.NewReader(t).Read(m.Path("leased"), 2*time.Second); !errors.Is(err, syscall.EIO) {
		t.Errorf("%v after %v, want EIO", err, time.Since(begun))
	}
	if got := harness.Read(t, m.Path("good")); got != "neighbour" {
		t.Errorf("the neighbour reads %q", got)
	}
}

// Links work as far as they stay in the mount, and never lead out of it.
func TestLinksNeverLeadOutOfTheMount(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode)
		for _, d := range []string{"..v1", "a/b", "dir.cipher"} {
			if err := os.MkdirAll(m.InSource(d), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		harness.Put(t, m.InSource("..v1/key.cipher"), harness.Seal(t, l, "through links"))
		harness.Put(t, m.InSource("a/b/deep.cipher"), harness.Seal(t, l, "deep"))
		harness.Put(t, m.InSource("dir.cipher/in.cipher"), harness.Seal(t, l, "in a directory"))
		good := map[string]string{ // link in the source → its text
			"..data":        "..v1",
			"key.cipher":    "..data/key.cipher",
			"plainname":     "..v1/key.cipher",
			"a/up.cipher":   "../..v1/key.cipher",
			"a/b/up.cipher": "../../key.cipher",
			"todir":         "dir.cipher",
			"chain.cipher":  "key.cipher",
		}
		bad := map[string]string{
			"abs.cipher":      "/etc/passwd",
			"abs2":            m.InSource("..v1/key.cipher"),
			"out.cipher":      "../secret.cipher",
			"a/out.cipher":    "../../secret.cipher",
			"climb":           "todir/../../../etc/passwd",
			"behind":          "..data/../..v1/key.cipher",
			"proc.cipher":     "/proc/self/root/etc/passwd",
			"a/b/many.cipher": "../../../x.cipher",
		}
		for link, text := range good {
			if err := os.Symlink(text, m.InSource(link)); err != nil {
				t.Fatal(err)
			}
		}
		for link, text := range bad {
			if err := os.Symlink(text, m.InSource(link)); err != nil {
				t.Fatal(err)
			}
		}
		for link, want := range map[string]string{
			"..data": "..v1", "key": "..data/key", "plainname": "..v1/key", "a/up": "../..v1/key", "a/b/up": "../../key", "todir": "dir.cipher", "chain": "key",
		} {
			got, err := os.Readlink(m.Path(link))
			st, serr := os.Lstat(m.Path(link))
			if err != nil || got != want || serr != nil || st.Size() != int64(len(want)) {
				t.Errorf("%s → %q (%v), size %v (%v); want %q", link, got, err, st, serr, want)
			}
		}
		for path, want := range map[string]string{
			"key": "through links", "..data/key": "through links", "plainname": "through links", "a/up": "through links", "a/b/up": "through links",
			"chain": "through links", "todir/in": "in a directory", "dir.cipher/in": "in a directory", "a/b/deep": "deep",
		} {
			if got := harness.Read(t, m.Path(path)); got != want {
				t.Errorf("%s reads %q, want %q", path, got, want)
			}
		}
		for link := range bad {
			shown := strings.TrimSuffix(link, ".cipher")
			if got, err := os.Readlink(m.Path(shown)); !errors.Is(err, syscall.EACCES) {
				t.Errorf("%s → %q, %v; want EACCES", shown, got, err)
			}
			if b, err := os.ReadFile(m.Path(shown)); !errors.Is(err, syscall.EACCES) {
				t.Errorf("%s reads %q, %v; want EACCES", shown, b, err)
			}
		}
	})
}

// A mount point beneath the source is not crossed.
func TestNestedMountIsNotCrossed(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "")
	if err := os.Mkdir(m.InSource("other"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", m.InSource("other"), "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(m.InSource("other"), unix.MNT_DETACH)
	harness.Put(t, m.InSource("other/x.cipher"), harness.Seal(t, l, "elsewhere"))
	if b, err := os.ReadFile(m.Path("other/x")); !errors.Is(err, syscall.EXDEV) {
		t.Errorf("%q, %v; want EXDEV", b, err)
	}
}

// Names are bytes. None of them can forge a log line, and two different ones
// are two in the log.
func TestNamesCannotForgeALogLine(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "")
	blob := harness.Seal(t, l, "named")
	names := []string{"a\nb", "esc\x1b[31m", "c1\u009b31m", "bidi\u202etxt", "\xff", "\xfe", `quote"back\`, "läöß", "-rf", "a b", strings.Repeat("n", 248), "x=1 result=ok"}
	for _, name := range names {
		harness.Put(t, m.InSource(name+".cipher"), blob)
		if got := harness.Read(t, m.Path(name)); got != "named" {
			t.Errorf("%q reads %q", name, got)
		}
	}
	entries, err := os.ReadDir(m.Point)
	if err != nil || len(entries) != len(names) {
		t.Errorf("%d names listed, want %d (%v)", len(entries), len(names), err)
	}
	if _, err := os.Stat(m.Path(strings.Repeat("n", 249))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a name of 249 bytes: %v, want ENOENT", err)
	}
	records := func() int { return strings.Count(m.Log(), "msg=open ") }
	harness.Eventually(t, "every open has its record", func() bool { return records() >= len(names) })
	m.WaitLog(t, "msg=open", strings.Repeat("n", 248))
	m.WaitLog(t, `\\xff`)
	m.WaitLog(t, `\\xfe`)
	opens := records()
	for line := range strings.Lines(m.Log()) {
		for _, c := range []byte(strings.TrimSuffix(line, "\n")) {
			if c < 0x20 || c > 0x7e {
				t.Fatalf("byte %#x in the log line %q", c, line)
			}
		}
	}
	if opens != len(names) {
		t.Errorf("%d records for %d opens", opens, len(names))
	}
	if strings.Contains(m.Log(), "named\n") || strings.Contains(m.Log(), blob) {
		t.Error("the log holds a plaintext or a ciphertext")
	}
}

// A name is the ciphertext's when both want it, and files without the suffix
// are hidden or shown as they are.
func TestNameIsTheCiphertextsWhenBothWantIt(t *testing.T) {
	l := harness.NewLab(t)
	source := t.TempDir()
	blob := harness.Seal(t, l, "decrypted")
	for name, content := range map[string]string{
		"both": "plain", "both.cipher": blob, "plain.txt": "as it is", ".cipher": blob, "twice.cipher.cipher": blob, "noext": "hidden",
	} {
		harness.Put(t, filepath.Join(source, name), content)
	}
	for _, d := range []string{"dir", "dir.cipher/sub", "clash"} {
		if err := os.MkdirAll(filepath.Join(source, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	harness.Put(t, filepath.Join(source, "clash.cipher"), blob)
	for option, want := range map[string]string{
		"plain=hide": "both clash dir dir.cipher twice.cipher",
		"plain=show": "both clash dir dir.cipher noext plain.txt twice.cipher",
	} {
		m := harness.Mount(t, l, source, option)
		var names []string
		entries, err := os.ReadDir(m.Point)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s, want %s", option, got, want)
		}
		for _, name := range []string{"both", "clash", "twice.cipher"} {
			if got := harness.Read(t, m.Path(name)); got != "decrypted" {
				t.Errorf("%s: %s reads %q", option, name, got)
			}
		}
		b, err := os.ReadFile(m.Path("plain.txt"))
		if shown := option == "plain=show"; shown != (err == nil) || shown && string(b) != "as it is" {
			t.Errorf("%s: plain.txt: %q, %v", option, b, err)
		}
		m.WaitLog(t, "level=WARN", "hidden behind a ciphertext", "path=clash")
		if option == "plain=show" {
			m.WaitLog(t, "level=WARN", "hidden behind a ciphertext", "path=both")
		}
		for _, name := range []string{".cipher", "both.cipher"} {
			if _, err := os.Stat(m.Path(name)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %s: %v, want ENOENT", option, name, err)
			}
		}
		m.Stop(t)
	}
}

// A source whose name looks like mount options cannot set any.
func TestSourceNameCannotSetOptions(t *testing.T) {
	l := harness.NewLab(t)
	source := filepath.Join(t.TempDir(), `a,allow_other,suid,dev b\040`)
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	harness.Put(t, filepath.Join(source, "x.cipher"), harness.Seal(t, l, "inside"))
	m := harness.Mount(t, l, source)
	if got := harness.Read(t, m.Path("x")); got != "inside" {
		t.Errorf("reads %q", got)
	}
	// As another user even root's allow_other is seen by what it does.
	out, err := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", m.Point).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Permission denied") {
		t.Errorf("nobody can list the mount: %v\n%s", err, out)
	}
	info := harness.Read(t, "/proc/self/mountinfo")
	for line := range strings.Lines(info) {
		if strings.Contains(line, " "+m.Point+" ") {
			if !strings.Contains(line, " ro,nosuid,nodev,noexec") || !strings.Contains(line, "default_permissions") || strings.Contains(strings.Split(line, " - ")[1], "group_id=0,allow_other") {
				t.Errorf("in force: %s", line)
			}
			return
		}
	}
	t.Error("not in the mount table")
}

// Mounting over the source itself shows the plaintext in its place, and
// unmounting the ciphertext again.
func TestMountOverItsSourceShowsThePlaintext(t *testing.T) {
	l := harness.NewLab(t)
	source := t.TempDir()
	blob := harness.Seal(t, l, "over itself")
	harness.Put(t, filepath.Join(source, "x.cipher"), blob)
	m := harness.MountOn(t, l, source, source)
	if got := harness.Read(t, filepath.Join(source, "x")); got != "over itself" {
		t.Errorf("reads %q", got)
	}
	m.Stop(t)
	if got := harness.Read(t, filepath.Join(source, "x.cipher")); got != blob {
		t.Errorf("after unmounting the ciphertext reads %q", got)
	}
}

// allow_other lets others in as far as modes do, and no further.
func TestAllowOtherGoesAsFarAsModesDo(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "allow_other,file_mode=0440,dir_mode=0555,gid=65534")
	harness.Put(t, m.InSource("x.cipher"), harness.Seal(t, l, "for the group"))
	harness.LetOthersPass(t, filepath.Dir(m.Point))
	as := func(uid, gid string) (string, error) {
		out, err := exec.Command("setpriv", "--reuid="+uid, "--regid="+gid, "--clear-groups", "cat", m.Path("x")).CombinedOutput()
		return string(out), err
	}
	if out, err := as("1234", "65534"); err != nil || out != "for the group" {
		t.Errorf("the group: %q, %v", out, err)
	}
	if out, err := as("1234", "1234"); err == nil {
		t.Errorf("somebody else reads %q", out)
	}
}
