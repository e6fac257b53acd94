package ciphertexts_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// keys= serves what the listed keys encrypted and nothing else, however they
// are named; without it, mounting warns once.
func TestKeysServesWhatTheListedKeysEncrypted(t *testing.T) {
	l := harness.NewLab(t)
	listed, other := harness.OtherKey(t, l), harness.OtherKey(t, l)
	arn := "acs:kms:" + lab.Region + ":1234567890123456:key/" + listed
	source := t.TempDir()
	harness.Put(t, source+"/alias.cipher", harness.Seal(t, l, "by the alias's key"))
	harness.Put(t, source+"/listed.cipher", harness.SealWith(t, l, "by the listed key", "--key", listed))
	harness.Put(t, source+"/other.cipher", harness.SealWith(t, l, "by another key", "--key", other))
	for _, keys := range []string{listed + ";" + lab.Alias, arn + ";" + lab.Alias} {
		m := harness.Mount(t, l, source, "keys="+keys)
		for name, want := range map[string]string{"alias": "by the alias's key", "listed": "by the listed key"} {
			if got := harness.Read(t, m.Path(name)); got != want {
				t.Errorf("keys=%s: %s reads %q", keys, name, got)
			}
		}
		for range 2 { // the second time nothing is cached either
			if b, err := os.ReadFile(m.Path("other")); !errors.Is(err, syscall.EACCES) {
				t.Errorf("keys=%s: another key's file: %q, %v; want EACCES", keys, b, err)
			}
		}
		m.WaitLog(t, "level=WARN", "path=other.cipher", other, "not one of keys=")
		if strings.Contains(m.Log(), "keys= is not given") {
			t.Error("warned although keys= is given")
		}
		m.Stop(t)
	}
	m := harness.Mount(t, l, source)
	if got := harness.Read(t, m.Path("other")); got != "by another key" {
		t.Errorf("without keys=: %q", got)
	}
	if n := strings.Count(m.Log(), "keys= is not given"); n != 1 {
		t.Errorf("warned %d times", n)
	}
}

// An encryption context must be the same everywhere, and arrives intact
// through mount(8).
func TestEncryptionContextMustBeTheSame(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	const ec = "app=web;path=a=b c;空=值"
	source := t.TempDir()
	harness.Put(t, source+"/with.cipher", harness.SealWith(t, l, "with a context", "--key", lab.Alias, "--encryption-context", ec))
	harness.Put(t, source+"/without.cipher", harness.Seal(t, l, "without"))
	m := harness.Mount(t, l, source, "encryption_context="+ec)
	if got := harness.Read(t, m.Path("with")); got != "with a context" {
		t.Errorf("reads %q", got)
	}
	if b, err := os.ReadFile(m.Path("without")); !errors.Is(err, syscall.EBADMSG) {
		t.Errorf("without a context: %q, %v; want EBADMSG", b, err)
	}
	m.Stop(t)
	m = harness.Mount(t, l, source)
	if b, err := os.ReadFile(m.Path("with")); !errors.Is(err, syscall.EBADMSG) {
		t.Errorf("the context is not given: %q, %v; want EBADMSG", b, err)
	}
	m.Stop(t)
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
	if err := os.Symlink(filepath.Join(harness.BinDir, "kmsfs"), helper+"/mount.kmsfs"); err != nil {
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
	if o := harness.RunCommand(t, cmd); o.Code != 0 || o.Stdout != "with a context" {
		t.Errorf("through mount(8): exit code %d, %q\n%s", o.Code, o.Stdout, o.Stderr)
	}
	harness.WaitGone(t, mnt)
}

// With bind=name a ciphertext is good for its own name only, in both orders of
// events, and a bad copy never spoils the good file.
func TestBoundCiphertextIsGoodForItsNameOnly(t *testing.T) {
	l := harness.NewLab(t)
	source := t.TempDir()
	if err := os.Mkdir(source+"/d", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "d/a"} {
		harness.Put(t, filepath.Join(source, name+".cipher"), "")
		os.Remove(filepath.Join(source, name+".cipher"))
		cmd := l.Command("encrypt", "--key", lab.Alias, "--bind", "name", "--source", source, "--output", filepath.Join(source, name+".cipher"), "-")
		cmd.Stdin = strings.NewReader("secret of " + name)
		if o := harness.RunCommand(t, cmd); o.Code != 0 {
			t.Fatalf("%s", o.Stderr)
		}
	}
	m := harness.Mount(t, l, source, "bind=name")
	good := map[string]string{"a": "secret of a", "b": "secret of b", "d/a": "secret of d/a"}
	check := func(when string) {
		t.Helper()
		for name, want := range good {
			if got := harness.Read(t, m.Path(name)); got != want {
				t.Errorf("%s: %s reads %q", when, name, got)
			}
		}
	}
	check("at first")
	for target, from := range map[string]string{"copy": "a", "d/copy": "d/a"} {
		harness.Put(t, m.InSource(target+".cipher"), harness.Read(t, m.InSource(from+".cipher")))
		before := harness.Decrypts(t, l)
		if b, err := os.ReadFile(m.Path(target)); !errors.Is(err, syscall.EBADMSG) {
			t.Errorf("%s, a copy of %s that is cached: %q, %v; want EBADMSG", target, from, b, err)
		}
		if harness.Decrypts(t, l) == before {
			t.Errorf("%s was judged without asking the service", target)
		}
	}
	check("after copies")
	a, b := harness.Read(t, m.InSource("a.cipher")), harness.Read(t, m.InSource("b.cipher"))
	harness.Put(t, m.InSource("a.cipher"), b)
	harness.Put(t, m.InSource("b.cipher"), a)
	for _, name := range []string{"a", "b"} {
		if got, err := os.ReadFile(m.Path(name)); !errors.Is(err, syscall.EBADMSG) {
			t.Errorf("swapped %s: %q, %v; want EBADMSG", name, got, err)
		}
	}
	harness.Put(t, m.InSource("a.cipher"), a)
	harness.Put(t, m.InSource("b.cipher"), b)
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
func TestBase64CarriesAnyBytes(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		source := t.TempDir()
		binary := "\x00\xff\xfebinary\n"
		harness.Put(t, source+"/binary.cipher", harness.SealWith(t, l, binary, "--key", lab.Alias, "--encoding", "base64"))
		harness.Put(t, source+"/newline.cipher", harness.Seal(t, l, "c2VjcmV0\n"))
		harness.Put(t, source+"/raw.cipher", harness.Seal(t, l, "not base64"))
		m := harness.Mount(t, l, source, mode, "encoding=base64")
		if err := l.ResetCalls(); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(m.Point)
		if err != nil || len(entries) != 3 || harness.TotalCalls(t, l) != 0 {
			t.Errorf("a listing: %v, %v, %d calls", entries, err, harness.TotalCalls(t, l))
		}
		for range 3 {
			if st, err := os.Stat(m.Path("binary")); err != nil || st.Size() != int64(len(binary)) {
				t.Errorf("stat: %v, %v", st, err)
			}
		}
		if n := harness.TotalCalls(t, l); n != 1 {
			t.Errorf("%d calls for three stats, want 1", n)
		}
		for name, want := range map[string]string{"binary": binary, "newline": "secret"} {
			if err := harness.ReadAsOneOf(m.Path(name), []string{want}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if b, err := os.ReadFile(m.Path("raw")); !errors.Is(err, syscall.EBADMSG) {
			t.Errorf("not base64: %q, %v; want EBADMSG", b, err)
		}
		if out, err := exec.Command("ls", "-l", m.Point).CombinedOutput(); (err == nil) != (mode == "open=checked") || !strings.Contains(string(out), " 11 ") && !strings.Contains(string(out), harness.Itoa(len(binary))+" ") {
			t.Errorf("ls -l: %v\n%s", err, out)
		}
		if out, err := l.Kmsfs(nil, "decrypt", "--encoding", "base64", source+"/binary.cipher"); err != nil || out != binary {
			t.Errorf("decrypt: %q, %v", out, err)
		}
	})
}

// verify says of every file whether it could be served, and shows no secret.
func TestVerifySaysWhatCouldBeServed(t *testing.T) {
	l := harness.NewLab(t)
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/sub", 0o700); err != nil {
		t.Fatal(err)
	}
	blob := harness.Seal(t, l, "verify-canary")
	harness.Put(t, dir+"/good.cipher", blob)
	harness.Put(t, dir+"/sub/also good.cipher", blob)
	harness.Put(t, dir+"/other.txt", "not looked at")
	o := harness.RunCommand(t, l.Command("verify", dir))
	if o.Code != 0 || strings.Count(o.Stdout, "ok    ") != 2 || !strings.Contains(o.Stdout, `"sub/also good.cipher"`) || !strings.Contains(o.Stdout, "version ") {
		t.Errorf("exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	harness.Put(t, dir+"/html.cipher", "<html>")
	harness.Put(t, dir+"/bad\n\x1b.cipher", blob[:len(blob)-8]+"AAAAAAAA")
	o = harness.RunCommand(t, l.Command("verify", dir))
	if o.Code != 1 || strings.Count(o.Stdout, "ok    ") != 2 || strings.Count(o.Stdout, "FAIL  ") != 2 || !strings.Contains(o.Stdout, "html.cipher  not a ciphertext") || !strings.Contains(o.Stderr, "2 of 4 files") {
		t.Errorf("exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	for _, c := range []byte(o.Stdout) {
		if c != '\n' && (c < 0x20 || c > 0x7e) {
			t.Errorf("byte %#x in the output", c)
		}
	}
	if strings.Contains(o.Stdout+o.Stderr, "canary") {
		t.Error("the output shows a secret")
	}
	if o := harness.RunCommand(t, l.Command("verify", dir+"/none")); o.Code != 1 || !strings.Contains(o.Stderr, "no such file") {
		t.Errorf("no directory: exit code %d\n%s", o.Code, o.Stderr)
	}
}

// The commands about keys print the service's answers.
func TestKeyCommandsPrintTheAnswers(t *testing.T) {
	l := harness.NewLab(t)
	id := harness.OtherKey(t, l)
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
