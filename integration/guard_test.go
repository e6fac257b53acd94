package integration_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// otherKey makes a second key and returns its id.
func otherKey(t *testing.T, l *lab.Lab) string {
	t.Helper()
	out, err := l.Kmsfs(nil, "create-key")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(out, `"KeyId": "`)
	id, _, end := strings.Cut(rest, `"`)
	if !ok || !end {
		t.Fatalf("no key id in %s", out)
	}
	return id
}

// sealWith encrypts with further arguments of kmsfs encrypt.
func sealWith(t *testing.T, l *lab.Lab, plaintext string, args ...string) string {
	t.Helper()
	blob, err := l.Kmsfs(strings.NewReader(plaintext), append(append([]string{"encrypt"}, args...), "-")...)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

// keys= serves what the listed keys encrypted and nothing else, however they
// are named; without it, mounting warns once.
func TestKeys(t *testing.T) {
	l := newLab(t)
	listed, other := otherKey(t, l), otherKey(t, l)
	arn := "acs:kms:" + lab.Region + ":1234567890123456:key/" + listed
	source := t.TempDir()
	put(t, source+"/alias.cipher", seal(t, l, "by the alias's key"))
	put(t, source+"/listed.cipher", sealWith(t, l, "by the listed key", "--key", listed))
	put(t, source+"/other.cipher", sealWith(t, l, "by another key", "--key", other))
	for _, keys := range []string{listed + ";" + lab.Alias, arn + ";" + lab.Alias} {
		m := mount(t, l, source, "keys="+keys)
		for name, want := range map[string]string{"alias": "by the alias's key", "listed": "by the listed key"} {
			if got := read(t, m.path(name)); got != want {
				t.Errorf("keys=%s: %s reads %q", keys, name, got)
			}
		}
		for range 2 { // the second time nothing is cached either
			if b, err := os.ReadFile(m.path("other")); !errors.Is(err, syscall.EACCES) {
				t.Errorf("keys=%s: another key's file: %q, %v; want EACCES", keys, b, err)
			}
		}
		m.waitLog(t, "level=WARN", "path=other.cipher", other, "not one of keys=")
		if strings.Contains(m.Log(), "keys= is not given") {
			t.Error("warned although keys= is given")
		}
		m.stop(t)
	}
	m := mount(t, l, source)
	if got := read(t, m.path("other")); got != "by another key" {
		t.Errorf("without keys=: %q", got)
	}
	if n := strings.Count(m.Log(), "keys= is not given"); n != 1 {
		t.Errorf("warned %d times", n)
	}
}

// An encryption context must be the same everywhere, and arrives intact
// through mount(8).
func TestEncryptionContext(t *testing.T) {
	needMount(t)
	l := newLab(t)
	const ec = "app=web;path=a=b c;空=值"
	source := t.TempDir()
	put(t, source+"/with.cipher", sealWith(t, l, "with a context", "--key", lab.Alias, "--encryption-context", ec))
	put(t, source+"/without.cipher", seal(t, l, "without"))
	m := mount(t, l, source, "encryption_context="+ec)
	if got := read(t, m.path("with")); got != "with a context" {
		t.Errorf("reads %q", got)
	}
	if b, err := os.ReadFile(m.path("without")); !errors.Is(err, syscall.EBADMSG) {
		t.Errorf("without a context: %q, %v; want EBADMSG", b, err)
	}
	m.stop(t)
	m = mount(t, l, source)
	if b, err := os.ReadFile(m.path("with")); !errors.Is(err, syscall.EBADMSG) {
		t.Errorf("the context is not given: %q, %v; want EBADMSG", b, err)
	}
	m.stop(t)
	if out, err := l.Kmsfs(nil, "decrypt", "--encryption-context", ec, source+"/with.cipher"); err != nil || out != "with a context" {
		t.Errorf("decrypt: %q, %v", out, err)
	}
	if _, err := l.Kmsfs(nil, "decrypt", source+"/with.cipher"); err == nil || !strings.Contains(err.Error(), "same encryption context") {
		t.Errorf("decrypt without: %v", err)
	}
	for _, reserved := range []string{"kmsfs=kek/v1", "kmsfs-name=x"} {
		if _, err := l.Kmsfs(nil, "decrypt", "--encryption-context", reserved, source+"/with.cipher"); err == nil || !strings.Contains(err.Error(), "reserved") {
			t.Errorf("%s: %v, want a refusal", reserved, err)
		}
	}

	// mount(8) finds its helper only in /sbin; a mount namespace has its own.
	mnt := t.TempDir()
	helper := t.TempDir()
	if err := os.Symlink(filepath.Join(binDir, "kmsfs"), helper+"/mount.kmsfs"); err != nil {
		t.Fatal(err)
	}
	options := "allow_emulator,log_file=" + filepath.Join(t.TempDir(), "log") + ",endpoint=" + l.Endpoint + ",ca_file=" + l.CAFile + ",encryption_context=" + ec
	script := `set -e
mount -t tmpfs none /mnt && cp -a /usr/sbin/mount.* /mnt/ 2>/dev/null || true
cp -P "$1"/mount.kmsfs /mnt/
mount --bind /mnt /usr/sbin
mount -t kmsfs -o "$4" "$2" "$3"
cat "$3/with"
umount "$3"`
	cmd := exec.Command("unshare", "-m", "sh", "-c", script, "sh", helper, source, mnt, options)
	cmd.Env = l.Env()
	if o := runCommand(t, cmd); o.code != 0 || o.stdout != "with a context" {
		t.Errorf("through mount(8): exit code %d, %q\n%s", o.code, o.stdout, o.stderr)
	}
	waitGone(t, mnt)
}

// With bind=name a ciphertext is good for its own name only, in both orders of
// events, and a bad copy never spoils the good file.
func TestBindName(t *testing.T) {
	l := newLab(t)
	source := t.TempDir()
	if err := os.Mkdir(source+"/d", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "d/a"} {
		put(t, filepath.Join(source, name+".cipher"), "")
		os.Remove(filepath.Join(source, name+".cipher"))
		cmd := l.Command("encrypt", "--key", lab.Alias, "--bind", "name", "--source", source, "--output", filepath.Join(source, name+".cipher"), "-")
		cmd.Stdin = strings.NewReader("secret of " + name)
		if o := runCommand(t, cmd); o.code != 0 {
			t.Fatalf("%s", o.stderr)
		}
	}
	m := mount(t, l, source, "bind=name")
	good := map[string]string{"a": "secret of a", "b": "secret of b", "d/a": "secret of d/a"}
	check := func(when string) {
		t.Helper()
		for name, want := range good {
			if got := read(t, m.path(name)); got != want {
				t.Errorf("%s: %s reads %q", when, name, got)
			}
		}
	}
	check("at first")
	for target, from := range map[string]string{"copy": "a", "d/copy": "d/a"} {
		put(t, m.source(target+".cipher"), read(t, m.source(from+".cipher")))
		before := decrypts(t, l)
		if b, err := os.ReadFile(m.path(target)); !errors.Is(err, syscall.EBADMSG) {
			t.Errorf("%s, a copy of %s that is cached: %q, %v; want EBADMSG", target, from, b, err)
		}
		if decrypts(t, l) == before {
			t.Errorf("%s was judged without asking the service", target)
		}
	}
	check("after copies")
	a, b := read(t, m.source("a.cipher")), read(t, m.source("b.cipher"))
	put(t, m.source("a.cipher"), b)
	put(t, m.source("b.cipher"), a)
	for _, name := range []string{"a", "b"} {
		if got, err := os.ReadFile(m.path(name)); !errors.Is(err, syscall.EBADMSG) {
			t.Errorf("swapped %s: %q, %v; want EBADMSG", name, got, err)
		}
	}
	put(t, m.source("a.cipher"), a)
	put(t, m.source("b.cipher"), b)
	check("swapped back, at once")
	if out, err := l.Kmsfs(nil, "decrypt", "--bind", "name", "--source", source, source+"/d/a.cipher"); err != nil || out != "secret of d/a" {
		t.Errorf("decrypt: %q, %v", out, err)
	}
	if _, err := l.Kmsfs(nil, "decrypt", "--bind", "name", source+"/d/a.cipher"); err == nil || !strings.Contains(err.Error(), "--source") {
		t.Errorf("decrypt without --source: %v", err)
	}
}

// encoding=base64 carries any bytes; what is no base64 is refused; and only a
// stat of the file itself, once, may cost a call.
func TestBase64(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		l := newLab(t)
		source := t.TempDir()
		binary := "\x00\xff\xfebinary\n"
		put(t, source+"/binary.cipher", sealWith(t, l, binary, "--key", lab.Alias, "--encoding", "base64"))
		put(t, source+"/newline.cipher", seal(t, l, "c2VjcmV0\n"))
		put(t, source+"/raw.cipher", seal(t, l, "not base64"))
		m := mount(t, l, source, mode, "encoding=base64")
		if err := l.ResetCalls(); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(m.Point)
		if err != nil || len(entries) != 3 || total(t, l) != 0 {
			t.Errorf("a listing: %v, %v, %d calls", entries, err, total(t, l))
		}
		for range 3 {
			if st, err := os.Stat(m.path("binary")); err != nil || st.Size() != int64(len(binary)) {
				t.Errorf("stat: %v, %v", st, err)
			}
		}
		if n := total(t, l); n != 1 {
			t.Errorf("%d calls for three stats, want 1", n)
		}
		for name, want := range map[string]string{"binary": binary, "newline": "secret"} {
			if err := readVersion(m.path(name), []string{want}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if b, err := os.ReadFile(m.path("raw")); !errors.Is(err, syscall.EBADMSG) {
			t.Errorf("not base64: %q, %v; want EBADMSG", b, err)
		}
		if out, err := exec.Command("ls", "-l", m.Point).CombinedOutput(); (err == nil) != (mode == "open=checked") || !strings.Contains(string(out), " 11 ") && !strings.Contains(string(out), itoa(len(binary))+" ") {
			t.Errorf("ls -l: %v\n%s", err, out)
		}
		if out, err := l.Kmsfs(nil, "decrypt", "--encoding", "base64", source+"/binary.cipher"); err != nil || out != binary {
			t.Errorf("decrypt: %q, %v", out, err)
		}
	})
}

// verify says of every file whether it could be served, and shows no secret.
func TestVerify(t *testing.T) {
	l := newLab(t)
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/sub", 0o700); err != nil {
		t.Fatal(err)
	}
	blob := seal(t, l, "verify-canary")
	put(t, dir+"/good.cipher", blob)
	put(t, dir+"/sub/also good.cipher", blob)
	put(t, dir+"/other.txt", "not looked at")
	o := runCommand(t, l.Command("verify", dir))
	if o.code != 0 || strings.Count(o.stdout, "ok    ") != 2 || !strings.Contains(o.stdout, `"sub/also good.cipher"`) || !strings.Contains(o.stdout, "version ") {
		t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	put(t, dir+"/html.cipher", "<html>")
	put(t, dir+"/bad\n\x1b.cipher", blob[:len(blob)-8]+"AAAAAAAA")
	o = runCommand(t, l.Command("verify", dir))
	if o.code != 1 || strings.Count(o.stdout, "ok    ") != 2 || strings.Count(o.stdout, "FAIL  ") != 2 || !strings.Contains(o.stdout, "html.cipher  not a ciphertext") || !strings.Contains(o.stderr, "2 of 4 files") {
		t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	for _, c := range []byte(o.stdout) {
		if c != '\n' && (c < 0x20 || c > 0x7e) {
			t.Errorf("byte %#x in the output", c)
		}
	}
	if strings.Contains(o.stdout+o.stderr, "canary") {
		t.Error("the output shows a secret")
	}
	if o := runCommand(t, l.Command("verify", dir+"/none")); o.code != 1 || !strings.Contains(o.stderr, "no such file") {
		t.Errorf("no directory: exit code %d\n%s", o.code, o.stderr)
	}
}

// The commands about keys print the service's answers.
func TestKeyCommands(t *testing.T) {
	l := newLab(t)
	id := otherKey(t, l)
	for _, c := range []struct {
		args, want string
	}{
		{"describe-key " + id, `"KeyState": "Enabled"`},
		{"describe-key " + lab.Alias + " --output table", "KeyMetadata.KeyState"},
		{"disable-key " + id, "RequestId"},
		{"describe-key " + id, `"KeyState": "Disabled"`},
		{"enable-key " + id, "RequestId"},
		{"describe-key " + id, `"KeyState": "Enabled"`},
		{"list-keys", `"TotalCount": 2`},
		{"list-keys --output table", "KeyArn"},
		{"list-keys --page-size 100", `"PageSize": 100`},
		{"list-keys --page-size 1 --page-number 2", `"PageNumber": 2`},
		{"list-aliases", lab.Alias},
		{"list-aliases --output table", "AliasName"},
	} {
		out, err := l.Kmsfs(nil, strings.Fields(c.args)...)
		if err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v\n%s", c.args, err, out)
		}
	}
}
