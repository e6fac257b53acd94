package commands_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	mounts "github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// Everything that a user can get wrong ends with one line that says what, one
// that says what to do, and the right exit code; and nothing is left mounted.
func TestBadInputEndsWithALineAndAHint(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	dir := t.TempDir()
	for _, d := range []string{"src", "mnt", "full"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"full/file": "x", "not-a-dir": "x", "bad-ca.pem": "hello", "empty": "", "binary": "\xff\xfe", "long": strings.Repeat("x", 6145),
		"text": "secret-canary-text", "src/x.cipher": "not base64", "taken": "a", "taken.cipher": "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const aMount = "mount -o allow_emulator "
	for _, c := range []struct {
		args   string
		env    map[string]string
		code   int
		error  string // in the first line
		hint   string // in the hint
		unlike string // not in the output at all
	}{
		{args: "", code: 0},
		{args: "frobnicate", code: 2, error: "unknown command", hint: "--help"},
		{args: "mount src", code: 2, error: "MNT is missing", hint: "usage: kmsfs mount SRC MNT"},
		{args: "mount src mnt more", code: 2, error: "unexpected", hint: "usage"},
		{args: "mount --frob src mnt", code: 2, error: "unknown flag", hint: "--help"},
		{args: "mount -o frob=1 src mnt", code: 2, error: `"frob": unknown`, hint: "--help"},
		{args: "mount -o ttl src mnt", code: 2, error: "ttl: no value", hint: "ttl=DURATION"},
		{args: "mount -o ttl=never src mnt", code: 2, error: "ttl: \"never\" is not a duration"},
		{args: "mount -o ttl=1ms src mnt", code: 2, error: "ttl: 1ms is not between"},
		{args: "mount -o cache_size=1TB src mnt", code: 2, error: "cache_size"},
		{args: "mount -o file_mode=999 src mnt", code: 2, error: "file_mode"},
		{args: "mount -o uid=nobody-at-all,ttl=5s src mnt", code: 2, error: "neither a number nor a user"},
		{args: "mount -o open=quick src mnt", code: 2, error: "open"},
		{args: "mount -o region=cn\x01x src mnt", code: 2, error: "control character"},
		{args: aMount + "nowhere mnt", code: 1, error: "open source", hint: "SRC is the directory"},
		{args: aMount + "not-a-dir mnt", code: 1, error: "not a directory", hint: "SRC is the directory"},
		{args: aMount + "src nowhere", code: 1, error: "open mountpoint", hint: "mkdir"},
		{args: aMount + "src not-a-dir", code: 1, error: "not a directory"},
		{args: aMount + "src full", code: 1, error: "not empty", hint: "nonempty"},
		{args: aMount + "src mnt", env: map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": "", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": ""}, code: 1, error: "no credentials", hint: "ALIBABA_CLOUD_ACCESS_KEY_ID"},
		{args: aMount + "src mnt", env: map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_SECRET": ""}, code: 1, error: "incomplete", hint: "ALIBABA_CLOUD_ACCESS_KEY_SECRET"},
		{args: aMount + "src mnt", env: map[string]string{"KMSFS_CA_FILE": filepath.Join(dir, "bad-ca.pem")}, code: 1, error: "no certificate"},
		{args: aMount + "src mnt", env: map[string]string{"KMSFS_CA_FILE": "/nowhere.pem"}, code: 1, error: "/nowhere.pem"},
		{args: aMount + "src mnt", env: map[string]string{"KMSFS_ENDPOINT": "https://kms.example.com/"}, code: 1, error: "endpoint", hint: "an endpoint looks like"},
		{args: aMount + "src mnt", env: map[string]string{"KMSFS_ENDPOINT": "", "ALIBABA_CLOUD_REGION_ID": ""}, code: 1, error: "no region", hint: "ALIBABA_CLOUD_REGION_ID"},
		{args: aMount + "src mnt", env: map[string]string{"ALIBABA_CLOUD_REGION_ID": "not a region"}, code: 1, error: "region", hint: "cn-hangzhou"},
		{args: aMount + "src mnt", env: map[string]string{"DEBUG": "sdk"}, code: 1, error: "DEBUG", hint: "unset"},
		{args: aMount + "src mnt", env: map[string]string{"GODEBUG": "http2debug=2"}, code: 1, error: "GODEBUG", hint: "unset"},
		{args: "mount src mnt", code: 1, error: "TEST ONLY", hint: "allow_emulator"},
		{args: "decrypt src/x.cipher", code: 1, error: "not a ciphertext", hint: "CiphertextBlob"},
		{args: "decrypt nowhere.cipher", code: 1, error: `decrypt "nowhere.cipher": no such file`},
		{args: "decrypt taken", code: 1, error: "not a ciphertext", hint: "taken.cipher"},
		{args: "encrypt text", code: 2, error: "no key", hint: "--key"},
		{args: "encrypt --key k", code: 2, error: "FILE is missing", hint: "usage"},
		{args: "encrypt --key k --output o text taken", code: 2, error: "single file"},
		{args: "encrypt --key " + lab.Alias + " empty", code: 1, error: "empty", hint: "at least one byte"},
		{args: "encrypt --key " + lab.Alias + " binary", code: 1, error: "UTF-8", hint: "base64"},
		{args: "encrypt --key " + lab.Alias + " long", code: 1, error: "6144", hint: "split"},
		{args: "encrypt --key " + lab.Alias + " taken", code: 1, error: "exists", hint: "--force"},
		{args: "encrypt --key " + lab.Alias + " src", code: 1, error: "is a directory", hint: "--recursive"},
		{args: "encrypt --key " + lab.Alias + " taken.cipher", code: 1, error: "a ciphertext already", hint: "--force"},
		{args: "encrypt --missing --force --key " + lab.Alias + " text", code: 2, error: "exclude each other", hint: "--missing"},
		{args: "encrypt -r --output o --key " + lab.Alias + " src", code: 2, error: "single file", hint: "FILE.cipher"},
		{args: "encrypt --key alias/none text", code: 1, error: "Encrypt", hint: "DescribeKey", unlike: "secret-canary"},
		{args: "encrypt --timeout 1s --key " + lab.Alias + " text", env: map[string]string{"KMSFS_ENDPOINT": "127.0.0.1:1"}, code: 1, error: "connection refused", hint: "check the endpoint", unlike: "secret-canary"},
		{args: "encrypt --key " + lab.Alias + " text", env: map[string]string{"KMSFS_ALLOW_EMULATOR": ""}, code: 1, error: "TEST ONLY", hint: "KMSFS_ALLOW_EMULATOR=1", unlike: "secret-canary"},
		{args: "encrypt --key " + lab.Alias + " text", env: map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "wrong-secret-canary"}, code: 1, error: "credentials", hint: "check the access key", unlike: "secret-canary"},
		{args: "create-alias " + lab.Alias + " 00000000-0000-0000-0000-000000000000", code: 1, error: "CreateAlias"},
		{args: "create-key --output xml", code: 2, error: "neither json nor table"},
		{args: "umount mnt", code: 1, error: "not mounted", hint: "findmnt"},
		{args: "umount", code: 2, error: "MNT is missing", hint: "usage"},
	} {
		cmd := l.Command(strings.Fields(c.args)...)
		cmd.Dir = dir
		cmd.Env = harness.WithEnv(cmd.Env, c.env)
		o := harness.RunCommand(t, cmd)
		name := c.args
		for k, v := range c.env {
			name = k + "=" + v + " " + name
		}
		if o.Code != c.code {
			t.Errorf("%s: exit code %d, want %d\n%s", name, o.Code, c.code, o.Stderr)
		}
		if c.code == 0 {
			continue
		}
		var lines []string
		for line := range strings.Lines(o.Stderr) {
			if !strings.HasPrefix(line, "kmsfs: warning: ") && !strings.HasPrefix(line, "time=") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		if len(lines) == 0 || !strings.HasPrefix(lines[0], "kmsfs: ") || !strings.Contains(lines[0], c.error) {
			t.Errorf("%s: said %q, want one line with %q", name, o.Stderr, c.error)
		}
		if (c.hint != "" || c.code == 2) && (len(lines) != 2 || !strings.HasPrefix(lines[1], "hint: ") || !strings.Contains(lines[1], c.hint)) {
			t.Errorf("%s: said %q, want a hint with %q", name, o.Stderr, c.hint)
		}
		if c.unlike != "" && strings.Contains(o.Stdout+o.Stderr, c.unlike) {
			t.Errorf("%s: said %q", name, o.Stdout+o.Stderr)
		}
		if got := harness.Read(t, filepath.Join(dir, "taken.cipher")); got != "b" {
			t.Errorf("%s: overwrote a file with %q", name, got)
		}
	}
	if _, ok, err := mounts.At(filepath.Join(dir, "mnt")); err != nil || ok {
		t.Errorf("something is mounted (%v)", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 11 {
		t.Errorf("files were made or lost: %v, %v", entries, err)
	}
}

// encrypt writes as a whole or not at all, for its owner only, and goes on
// after a bad file.
func TestEncryptWritesAsAWholeOrNotAtAll(t *testing.T) {
	l := harness.NewLab(t)
	dir := t.TempDir()
	for name, content := range map[string]string{"a": "text a", "b": "\xff", "c": "text c"} {
		harness.Put(t, filepath.Join(dir, name), content)
	}
	syscall.Umask(0o022)
	cmd := l.Command("encrypt", "--key", lab.Alias, "a", "b", "c")
	cmd.Dir = dir
	if o := harness.RunCommand(t, cmd); o.Code != 1 || !strings.Contains(o.Stderr, `encrypt "b": not UTF-8`) {
		t.Errorf("exit code %d:\n%s", o.Code, o.Stderr)
	}
	for _, name := range []string{"a", "c"} {
		path := filepath.Join(dir, name+".cipher")
		st, err := os.Stat(path)
		if err != nil || st.Mode() != 0o600 {
			t.Fatalf("%s: %v, %v", name, st, err)
		}
		if strings.TrimSpace(harness.Read(t, path)) != harness.Read(t, path) {
			t.Errorf("%s: white space around the ciphertext", name)
		}
		if out, err := l.Kmsfs(nil, "decrypt", path); err != nil || out != "text "+name {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
	before := harness.Read(t, dir+"/a.cipher")
	cmd = l.Command("encrypt", "--force", "--key", lab.Alias, "a")
	cmd.Dir = dir
	if o := harness.RunCommand(t, cmd); o.Code != 0 || harness.Read(t, dir+"/a.cipher") == before {
		t.Errorf("--force: exit code %d, replaced %t\n%s", o.Code, harness.Read(t, dir+"/a.cipher") != before, o.Stderr)
	}
	out := dir + "/plain"
	if _, err := l.Kmsfs(nil, "decrypt", "--output", out, dir+"/a.cipher"); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(out); err != nil || st.Mode() != 0o600 || harness.Read(t, out) != "text a" {
		t.Errorf("decrypt --output: %v, %v", st, err)
	}
	if _, err := l.Kmsfs(nil, "decrypt", "--output", out, dir+"/c.cipher"); err == nil || !strings.Contains(err.Error(), "exists") || harness.Read(t, out) != "text a" {
		t.Errorf("decrypt --output over a file: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 6 {
		t.Errorf("files: %v, %v", entries, err)
	}
}
