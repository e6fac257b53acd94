package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	mounts "github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// outcome is what a user sees of one run.
type outcome struct {
	code           int
	stdout, stderr string
}

func runCommand(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	killer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer killer.Stop()
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// withEnv replaces variables; an empty value removes one.
func withEnv(env []string, change map[string]string) []string {
	var out []string
	for _, kv := range env {
		if k, _, _ := strings.Cut(kv, "="); !hasKey(change, k) {
			out = append(out, kv)
		}
	}
	for k, v := range change {
		if v != "" {
			out = append(out, k+"="+v)
		}
	}
	return out
}

func hasKey(m map[string]string, k string) bool { _, ok := m[k]; return ok }

// Everything that a user can get wrong ends with one line that says what, one
// that says what to do, and the right exit code; and nothing is left mounted.
func TestBadInput(t *testing.T) {
	needMount(t)
	l := newLab(t)
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
		cmd.Env = withEnv(cmd.Env, c.env)
		o := runCommand(t, cmd)
		name := c.args
		for k, v := range c.env {
			name = k + "=" + v + " " + name
		}
		if o.code != c.code {
			t.Errorf("%s: exit code %d, want %d\n%s", name, o.code, c.code, o.stderr)
		}
		if c.code == 0 {
			continue
		}
		var lines []string
		for line := range strings.Lines(o.stderr) {
			if !strings.HasPrefix(line, "kmsfs: warning: ") && !strings.HasPrefix(line, "time=") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		if len(lines) == 0 || !strings.HasPrefix(lines[0], "kmsfs: ") || !strings.Contains(lines[0], c.error) {
			t.Errorf("%s: said %q, want one line with %q", name, o.stderr, c.error)
		}
		if (c.hint != "" || c.code == 2) && (len(lines) != 2 || !strings.HasPrefix(lines[1], "hint: ") || !strings.Contains(lines[1], c.hint)) {
			t.Errorf("%s: said %q, want a hint with %q", name, o.stderr, c.hint)
		}
		if c.unlike != "" && strings.Contains(o.stdout+o.stderr, c.unlike) {
			t.Errorf("%s: said %q", name, o.stdout+o.stderr)
		}
		if got := read(t, filepath.Join(dir, "taken.cipher")); got != "b" {
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

// Without /dev/fuse the message says so. The device is hidden in a mount
// namespace of its own.
func TestNoFuseDevice(t *testing.T) {
	needMount(t)
	l := newLab(t)
	src, mnt := t.TempDir(), t.TempDir()
	cmd := exec.Command("unshare", "-m", "sh", "-c", `mount -t tmpfs none /dev && exec "$@"`, "sh", filepath.Join(binDir, "kmsfs"), "mount", "-o", "allow_emulator", src, mnt)
	cmd.Env = l.Env()
	o := runCommand(t, cmd)
	if o.code != 1 || !strings.Contains(o.stderr, "kmsfs: open /dev/fuse: no such file") || !strings.Contains(o.stderr, "hint: ") {
		t.Errorf("exit code %d:\n%s", o.code, o.stderr)
	}
}

// The ordinary way: the command returns when the mount answers, the process
// behind it holds nothing of the caller's, and umount ends it.
func TestBackground(t *testing.T) {
	needMount(t)
	l := newLab(t)
	src, mnt, log := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "log")
	put(t, src+"/a.cipher", seal(t, l, "in the background"))
	extra, err := os.CreateTemp(t.TempDir(), "inherited")
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	cmd := l.Command("mount", "-o", "allow_emulator,log_file="+log, src, mnt)
	cmd.ExtraFiles = []*os.File{extra}
	o := runCommand(t, cmd) // would hang if the process kept stdout or stderr
	if o.code != 0 || o.stdout != "" || strings.Contains(o.stderr, "hint") {
		t.Fatalf("exit code %d:\n%s%s", o.code, o.stdout, o.stderr)
	}
	if got := read(t, mnt+"/a"); got != "in the background" {
		t.Errorf("reads %q", got)
	}
	holder, server := (&backgrounded{Point: mnt}).pids()
	if len(processes(mnt)) != 2 || server == 0 {
		t.Fatalf("processes: %q", processes(mnt))
	}
	leftTheTerminal(t, holder)
	leftTheTerminal(t, server)
	cmd = l.Command("mount", "-o", "allow_emulator,log_file="+log, src, mnt)
	if o := runCommand(t, cmd); o.code != 1 || !strings.Contains(o.stderr, "already") {
		t.Errorf("a second mount: exit code %d\n%s", o.code, o.stderr)
	}
	f, err := os.Open(mnt + "/a")
	if err != nil {
		t.Fatal(err)
	}
	if o := runCommand(t, l.Command("umount", mnt)); o.code != 1 || !strings.Contains(o.stderr, "busy") || !strings.Contains(o.stderr, "hint: ") {
		t.Errorf("umount while a file is open: exit code %d\n%s", o.code, o.stderr)
	}
	f.Close()
	if o := runCommand(t, l.Command("umount", mnt)); o.code != 0 {
		t.Errorf("umount: exit code %d\n%s", o.code, o.stderr)
	}
	waitGone(t, mnt)
	if !strings.Contains(read(t, log), "msg=unmounted") {
		t.Errorf("log:\n%s", read(t, log))
	}
	if st, err := os.Stat(log); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the log is %v (%v)", st.Mode(), err)
	}
}

// A mountpoint may be named in any way: relative, through links, with odd
// characters; and a mount whose process was killed can still be told and
// unmounted.
func TestMountpointNames(t *testing.T) {
	needMount(t)
	l := newLab(t)
	source, dir := t.TempDir(), t.TempDir()
	put(t, source+"/a.cipher", seal(t, l, "anywhere"))
	odd := "new\nline, and \\040 blank"
	for _, d := range []string{"real", "real/deep", odd} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"link": "real/deep", "chain": "link", "abs": filepath.Join(dir, "real")} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(t.TempDir(), "log")
	run := func(args ...string) outcome {
		t.Helper()
		cmd := l.Command(args...)
		cmd.Dir = dir
		return runCommand(t, cmd)
	}
	for _, name := range []string{"real/deep", "./real/../real/deep", "link", "chain", "abs/deep", odd} {
		if o := run("mount", "-o", "allow_emulator,log_file="+log, source, name); o.code != 0 {
			t.Errorf("mount %q: %s", name, o.stderr)
			continue
		}
		if got := read(t, filepath.Join(dir, name, "a")); got != "anywhere" {
			t.Errorf("%q reads %q", name, got)
		}
		if o := run("mount", "-o", "allow_emulator,log_file="+log, source, name); o.code != 1 || !strings.Contains(o.stderr, "mounted there already") {
			t.Errorf("a second mount on %q: exit code %d, %s", name, o.code, o.stderr)
		}
		if name == "chain" { // kill what serves it
			holder, server := (&backgrounded{Point: source}).pids()
			syscall.Kill(holder, syscall.SIGKILL) // first: it would start another one
			syscall.Kill(server, syscall.SIGKILL)
			waitGone(t, source)
			for begun := time.Now(); ; { // until the kernel knows
				if _, err := os.ReadDir(filepath.Join(dir, name)); errors.Is(err, syscall.ENOTCONN) {
					break
				} else if time.Since(begun) > patience {
					t.Fatalf("a dead mount: %v", err)
				}
			}
		}
		if name == "chain" { // the dead one makes room
			if o := run("mount", "-o", "allow_emulator,log_file="+log, source, name); o.code != 0 || read(t, filepath.Join(dir, name, "a")) != "anywhere" {
				t.Errorf("over a dead mount: exit code %d, %s", o.code, o.stderr)
			}
		}
		if o := run("umount", name); o.code != 0 {
			t.Errorf("umount %q: %s", name, o.stderr)
		}
		waitGone(t, source)
	}
}

// Nobody has to read the log: opens go on when its reader has stopped, and
// the mount when it has gone.
func TestNobodyReadsTheLog(t *testing.T) {
	needMount(t)
	l := newLab(t)
	source, point := t.TempDir(), t.TempDir()
	put(t, source+"/a.cipher", seal(t, l, "unread"))
	cmd := l.Command("mount", "--foreground", "-o", "allow_emulator", source, point)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	for begun := time.Now(); ; {
		if b, err := os.ReadFile(point + "/a"); err == nil && string(b) == "unread" {
			break
		} else if time.Since(begun) > patience {
			t.Fatalf("%q, %v", b, err)
		}
	}
	for i := range 1500 { // a pipe holds some 250 lines
		if b, err := readWithin(t, point+"/a", 5*time.Second); err != nil || string(b) != "unread" {
			t.Fatalf("open %d: %q, %v", i, b, err)
		}
	}
	r.Close()
	for range 50 {
		if got := read(t, point+"/a"); got != "unread" {
			t.Errorf("without a reader of the log: %q", got)
		}
	}
}

// waitGone waits until no process names a mountpoint.
func waitGone(t testing.TB, mnt string) {
	t.Helper()
	for begun := time.Now(); len(processes(mnt)) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatalf("still there: %q", processes(mnt))
		}
	}
}

// A signal unmounts, also while files are open, and the process ends.
func TestSignals(t *testing.T) {
	l := newLab(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for _, busy := range []bool{false, true} {
			m := mount(t, l, "")
			put(t, m.source("a.cipher"), seal(t, l, "a"))
			var held *os.File
			if busy {
				var err error
				if held, err = os.Open(m.path("a")); err != nil {
					t.Fatal(err)
				}
			}
			m.signal(t, sig)
			m.ends(t)
			if _, ok, err := mounts.At(m.Point); ok || err != nil {
				t.Errorf("%v, busy %t: still mounted (%v)", sig, busy, err)
			}
			if busy {
				if _, err := held.Read(make([]byte, 1)); err == nil {
					t.Error("a descriptor outlived the process")
				}
				held.Close()
			}
		}
	}
}

// Under the names that mount(8) calls, only options say where the service is,
// and the exit codes are mount(8)'s.
func TestHelperNames(t *testing.T) {
	needMount(t)
	l := newLab(t)
	src, mnt := t.TempDir(), t.TempDir()
	put(t, src+"/a.cipher", seal(t, l, "by mount(8)"))
	helper := filepath.Join(t.TempDir(), "mount.kmsfs")
	if err := os.Symlink(filepath.Join(binDir, "kmsfs"), helper); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	given := "rw,nosuid,_netdev,allow_emulator,log_file=" + log + ",endpoint=" + l.Endpoint + ",ca_file=" + l.CAFile
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{src, mnt, "-o", "frob"}, 1, "unknown"},
		{[]string{src}, 1, "MNT is missing"},
		{[]string{src + "/none", mnt, "-o", given}, 32, "open source"},
		{[]string{src, mnt, "-f", "-o", given}, 0, ""},
		// KMSFS_CA_FILE and KMSFS_ENDPOINT are set but do not count: the real
		// service's name is used, and no test authority is refused.
		{[]string{src, mnt, "-o", "ca_file=" + l.CAFile}, 32, "TEST ONLY"},
		{[]string{src, mnt, "-s", "-n", "-o", given}, 0, ""},
	} {
		cmd := exec.Command(helper, c.args...)
		cmd.Env = l.Env()
		o := runCommand(t, cmd)
		if o.code != c.code || !strings.Contains(o.stderr, c.says) {
			t.Errorf("%q: exit code %d, want %d and %q:\n%s", c.args, o.code, c.code, c.says, o.stderr)
		}
	}
	if got := read(t, mnt+"/a"); got != "by mount(8)" {
		t.Errorf("reads %q", got)
	}
	if !strings.Contains(read(t, log), "msg=mounted") {
		t.Error("not logged")
	}
	if o := runCommand(t, l.Command("umount", mnt)); o.code != 0 {
		t.Errorf("umount: %s", o.stderr)
	}
	waitGone(t, mnt)
	cmd := exec.Command(filepath.Join(binDir, "kmsfs"), src, mnt, "-o", given)
	cmd.Env = l.Env()
	if o := runCommand(t, cmd); o.code != 0 {
		t.Errorf("the bare form: exit code %d\n%s", o.code, o.stderr)
	}
	if o := runCommand(t, l.Command("umount", mnt)); o.code != 0 {
		t.Errorf("umount: %s", o.stderr)
	}
	waitGone(t, mnt)
}

// encrypt writes as a whole or not at all, for its owner only, and goes on
// after a bad file.
func TestEncryptFiles(t *testing.T) {
	l := newLab(t)
	dir := t.TempDir()
	for name, content := range map[string]string{"a": "text a", "b": "\xff", "c": "text c"} {
		put(t, filepath.Join(dir, name), content)
	}
	syscall.Umask(0o022)
	cmd := l.Command("encrypt", "--key", lab.Alias, "a", "b", "c")
	cmd.Dir = dir
	if o := runCommand(t, cmd); o.code != 1 || !strings.Contains(o.stderr, `encrypt "b": not UTF-8`) {
		t.Errorf("exit code %d:\n%s", o.code, o.stderr)
	}
	for _, name := range []string{"a", "c"} {
		path := filepath.Join(dir, name+".cipher")
		st, err := os.Stat(path)
		if err != nil || st.Mode() != 0o600 {
			t.Fatalf("%s: %v, %v", name, st, err)
		}
		if strings.TrimSpace(read(t, path)) != read(t, path) {
			t.Errorf("%s: white space around the ciphertext", name)
		}
		if out, err := l.Kmsfs(nil, "decrypt", path); err != nil || out != "text "+name {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
	before := read(t, dir+"/a.cipher")
	cmd = l.Command("encrypt", "--force", "--key", lab.Alias, "a")
	cmd.Dir = dir
	if o := runCommand(t, cmd); o.code != 0 || read(t, dir+"/a.cipher") == before {
		t.Errorf("--force: exit code %d, replaced %t\n%s", o.code, read(t, dir+"/a.cipher") != before, o.stderr)
	}
	out := dir + "/plain"
	if _, err := l.Kmsfs(nil, "decrypt", "--output", out, dir+"/a.cipher"); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(out); err != nil || st.Mode() != 0o600 || read(t, out) != "text a" {
		t.Errorf("decrypt --output: %v, %v", st, err)
	}
	if _, err := l.Kmsfs(nil, "decrypt", "--output", out, dir+"/c.cipher"); err == nil || !strings.Contains(err.Error(), "exists") || read(t, out) != "text a" {
		t.Errorf("decrypt --output over a file: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 6 {
		t.Errorf("files: %v, %v", entries, err)
	}
}

// leftTheTerminal checks that a process holds nothing of who started it. The
// holder and the server have a pipe between them.
func leftTheTerminal(t *testing.T, pid int) {
	t.Helper()
	of := fmt.Sprint("/proc/", pid)
	fds, err := os.ReadDir(of + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, _ := os.Readlink(of + "/fd/" + fd.Name())
		number, _ := strconv.Atoi(fd.Name())
		if strings.Contains(target, "inherited") || number < 3 && target != os.DevNull {
			t.Errorf("it holds descriptor %s → %s", fd.Name(), target)
		}
	}
	if cwd, err := os.Readlink(of + "/cwd"); err != nil || cwd != "/" {
		t.Errorf("it works in %s (%v)", cwd, err)
	}
}
