package commands_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// everyKind fills a directory with all that a source may have in it, and
// returns how many ciphertexts of it the key service is asked for.
func everyKind(t *testing.T, l *lab.Lab, dir string) (asked int) {
	t.Helper()
	outside := t.TempDir()
	blob := harness.Seal(t, l, "verify-canary")
	for _, d := range []string{"sub/deeper", "bound", "sub/point", "point.cipher", "d.cipher", "twin"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	longest := strings.Repeat("n", 248) + ".cipher"
	for _, name := range []string{"a.cipher", "B.cipher", "sub/a.cipher", "sub/deeper/a.cipher", "sub-.cipher", "d.cipher/a.cipher", "twin.cipher", longest} {
		harness.Put(t, filepath.Join(dir, name), blob)
	}
	harness.Put(t, dir+"/refused.cipher", blob[:len(blob)-8]+"AAAAAAAA")
	asked = 2 // blob, and the damaged one
	for name, content := range map[string]string{"html.cipher": "<html>", "empty.cipher": "", "age.cipher": "age-encryption.org/v1\n", "hidden": blob, ".cipher": blob, "twin/lost.cipher": blob, "file.cipher": blob} {
		harness.Put(t, filepath.Join(dir, name), content)
	}
	harness.Put(t, outside+"/a.cipher", blob)
	if err := os.WriteFile(dir+"/big.cipher", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(dir+"/big.cipher", 1<<30); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(dir+"/fifo.cipher", 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", dir+"/socket.cipher")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	links := map[string]string{
		"absolute.cipher": dir + "/a.cipher", "outside.cipher": "../a.cipher", "sub/outside.cipher": "../../a.cipher", "behind.cipher": "sub/../a.cipher",
		"dangling.cipher": "nothing.cipher", "link.cipher": "a.cipher", "bare": "a.cipher", "shown.cipher": "a", "chain.cipher": "link.cipher", "sub/up.cipher": "../a.cipher",
		"loop.cipher": "pool.cipher", "pool.cipher": "loop.cipher", "self": "self", "todir": "sub", "todir2.cipher": "sub/", "todir3": "d.cipher", "through": "todir/deeper/a.cipher",
		"tohtml.cipher": "html.cipher", "torefused.cipher": "refused.cipher", "tohidden": "hidden", "tofifo": "fifo.cipher", "tofile.cipher": "file.cipher",
		"tobound": "bound", "tobound.cipher": "bound/a.cipher", "topoint": "sub/point", "slash": "a/", "under": "a/x", "long": strings.Repeat("m", 256), "longer": strings.Repeat("m", 2000),
		"tolongest": longest, "l00.cipher": "a.cipher", "root": ".", "sub/root": "..",
	}
	for i := 1; i <= 40; i++ {
		links[fmt.Sprintf("l%02d.cipher", i)] = fmt.Sprintf("l%02d.cipher", i-1)
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for point, from := range map[string]string{"bound": outside, "file.cipher": outside + "/a.cipher", "point.cipher": outside, "sub/point": ""} {
		point = filepath.Join(dir, point)
		kind, flags := "", uintptr(unix.MS_BIND)
		if from == "" {
			from, kind, flags = "none", "tmpfs", 0
		}
		if err := unix.Mount(from, point, kind, flags, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(point, unix.MNT_DETACH) })
	}
	return asked
}

// answer opens what a mount shows and reads it: the errno, or 0.
func answer(t *testing.T, path string) syscall.Errno {
	t.Helper()
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		if st, serr := f.Stat(); serr == nil && st.IsDir() {
			_, err = f.ReadDir(-1)
		} else {
			_, err = io.Copy(io.Discard, f)
		}
	}
	errno := syscall.Errno(0)
	if err != nil && !errors.As(err, &errno) {
		t.Fatal(err)
	}
	return errno
}

// said is the errno that a line of verify stands for.
func said(t *testing.T, line string) syscall.Errno {
	t.Helper()
	parts := strings.SplitN(line, "  ", 3) // FAIL, the name, the reason
	if parts[0] == "ok" {
		return 0
	}
	reason := parts[2]
	if strings.HasPrefix(reason, "link to ") {
		_, reason, _ = strings.Cut(reason, ": ")
	}
	if strings.HasPrefix(reason, "not a ciphertext: ") || strings.HasPrefix(reason, "Decrypt: ") {
		return syscall.EBADMSG
	}
	name, words, _ := strings.Cut(reason, ", ")
	for errno := syscall.Errno(1); errno < 200; errno++ {
		if unix.ErrnoName(errno) == name && strings.HasPrefix(words, errno.Error()) {
			return errno
		}
	}
	t.Fatalf("no errno in %q", line)
	return 0
}

// shownBy lists what a mount shows that is no directory. Of a directory that it
// does not let enter it lists what the source has there, or the directory where
// that is nothing.
func shownBy(t *testing.T, point, source string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(point, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(point, path)
		if err == nil && !e.IsDir() {
			names = append(names, rel)
		}
		if err == nil {
			return nil
		}
		below, _ := filepath.Glob(filepath.Join(source, rel, "*.cipher"))
		for _, file := range below {
			names = append(names, filepath.Join(rel, strings.TrimSuffix(filepath.Base(file), ".cipher")))
		}
		if len(below) == 0 {
			names = append(names, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// What a mount answers to the open of each name, verify says: of all that is
// shown, and of nothing else.
func TestVerifyPredictsTheMount(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	source := t.TempDir()
	asked := everyKind(t, l, source)
	before := harness.Decrypts(t, l)
	o := harness.RunCommand(t, l.Command("verify", source))
	if n := harness.Decrypts(t, l) - before; n != asked {
		t.Errorf("%d calls, want %d", n, asked)
	}
	lines := strings.Split(strings.TrimSuffix(o.Stdout, "\n"), "\n")
	bad := strings.Count(o.Stdout, "FAIL  ")
	if o.Code != 1 || !strings.Contains(o.Stderr, fmt.Sprintf("%d of %d files cannot be served", bad, len(lines))) {
		t.Errorf("exit code %d\n%s", o.Code, o.Stderr)
	}
	var names, shown []string
	for _, line := range lines {
		name := strings.Fields(line)[1]
		names = append(names, name)
		if st, err := os.Lstat(filepath.Join(source, name)); err != nil {
			t.Error(err)
		} else if !st.IsDir() {
			name = strings.TrimSuffix(name, ".cipher")
		}
		shown = append(shown, name)
	}
	if !slices.IsSorted(names) {
		t.Errorf("not sorted:\n%s", o.Stdout)
	}
	call := regexp.MustCompile("RequestId [^)]*")
	if again := harness.RunCommand(t, l.Command("verify", source)); call.ReplaceAllString(again.Stdout, "") != call.ReplaceAllString(o.Stdout, "") {
		t.Errorf("another run says\n%s\nafter\n%s", again.Stdout, o.Stdout)
	}
	for _, want := range []string{
		"ok    link.cipher  link to a.cipher\n", "ok    chain.cipher  link to a.cipher\n", "ok    todir  link to sub\n", "ok    through  link to sub/deeper/a.cipher\n",
		"FAIL  bound/a.cipher  EXDEV, invalid cross-device link: something else is mounted on it\n", "FAIL  html.cipher  not a ciphertext: an HTML page\n",
		"FAIL  dangling.cipher  ENOENT, no such file or directory: leads to nothing that is shown\n",
		"FAIL  absolute.cipher  EACCES, permission denied: leads out of the mount\n", "FAIL  tohtml.cipher  link to html.cipher: not a ciphertext: an HTML page\n",
	} {
		if !strings.Contains(o.Stdout, want) {
			t.Errorf("no %q in\n%s", want, o.Stdout)
		}
	}
	if strings.Contains(o.Stdout+o.Stderr, "canary") {
		t.Error("the output shows a secret")
	}
	for _, mode := range []string{"checked", "fast"} {
		t.Run(mode, func(t *testing.T) {
			m := harness.Mount(t, l, source, "open="+mode)
			for i, line := range lines {
				if want, got := answer(t, m.Path(shown[i])), said(t, line); got != want {
					t.Errorf("the mount answers %s (%v) for %s, verify says %q", unix.ErrnoName(want), want, shown[i], line)
				}
			}
			if got := slices.Sorted(slices.Values(shown)); !slices.Equal(got, shownBy(t, m.Point, source)) {
				t.Errorf("verify names\n%q, the mount shows\n%q", got, shownBy(t, m.Point, source))
			}
		})
	}
}

// The names of bind=name are those of the files that links lead to.
func TestVerifyBindsTheNamesThatLinksLeadTo(t *testing.T) {
	l := harness.NewLab(t)
	dir := t.TempDir()
	cmd := l.Command("encrypt", "--key", lab.Alias, "--bind", "name", "--source", dir, "--output", dir+"/a.cipher", "-")
	cmd.Stdin = strings.NewReader("bound")
	if o := harness.RunCommand(t, cmd); o.Code != 0 {
		t.Fatal(o.Stderr)
	}
	harness.Put(t, dir+"/copy.cipher", harness.Read(t, dir+"/a.cipher"))
	if err := os.Symlink("a.cipher", dir+"/link.cipher"); err != nil {
		t.Fatal(err)
	}
	o := harness.RunCommand(t, l.Command("verify", "--bind", "name", dir))
	if o.Code != 1 || !strings.Contains(o.Stdout, "ok    a.cipher  key ") || !strings.Contains(o.Stdout, "FAIL  copy.cipher  ") || !strings.Contains(o.Stdout, "ok    link.cipher  link to a.cipher\n") {
		t.Errorf("exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
}

// Without a ciphertext there is nothing to say.
func TestVerifyIsSilentWithoutACiphertext(t *testing.T) {
	l := harness.NewLab(t)
	dir := t.TempDir()
	if err := os.Symlink(".", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	harness.Put(t, dir+"/plain", "shown only by plain=show")
	if o := harness.RunCommand(t, l.Command("verify", dir)); o.Code != 1 || !strings.Contains(o.Stderr, "no .cipher files") {
		t.Errorf("exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	harness.Put(t, dir+"/a.cipher", harness.Seal(t, l, "a"))
	if err := os.Symlink("plain", dir+"/toplain"); err != nil {
		t.Fatal(err)
	}
	for plain, code := range map[string]int{"hide": 1, "show": 0} {
		if o := harness.RunCommand(t, l.Command("verify", "--plain", plain, dir)); o.Code != code {
			t.Errorf("a link to a plain file, --plain %s: exit code %d\n%s%s", plain, o.Code, o.Stdout, o.Stderr)
		}
	}
}

// A terminal that knows no escape sequences gets none.
func TestVerifySparesATerminalWithoutEscapes(t *testing.T) {
	l := harness.NewLab(t)
	dir := t.TempDir()
	harness.Put(t, dir+"/a.cipher", harness.Seal(t, l, "a"))
	for value, escapes := range map[string]bool{"xterm": true, "dumb": false, "": false} {
		pty, terminal := openTerminal(t)
		cmd := l.Command("verify", dir)
		cmd.Env = harness.WithEnv(cmd.Env, map[string]string{"TERM": value})
		cmd.Stderr = terminal
		if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), "ok    a.cipher  key ") {
			t.Errorf("TERM=%s: %q, %v", value, out, err)
		}
		terminal.Close()
		b, err := io.ReadAll(pty)
		if got := bytes.ContainsRune(b, '\x1b'); got != escapes || !errors.Is(err, syscall.EIO) { // the end of a terminal
			t.Errorf("TERM=%s: wrote %q, %v", value, b, err)
		}
	}
}

// openTerminal makes a terminal and the end that sees what is written to it.
func openTerminal(t *testing.T) (pty, terminal *os.File) {
	t.Helper()
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pty.Close() })
	if err := unix.IoctlSetPointerInt(int(pty.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, pty.Fd(), unix.TIOCGPTPEER, syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	return pty, os.NewFile(fd, "terminal")
}
