package commands_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
)

// plainFiles makes n files below a directory, some of them in another one.
func plainFiles(t *testing.T, n int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(dir+"/sub", 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		name := fmt.Sprintf("%03d", i)
		if i%3 == 0 {
			name = "sub/" + name
		}
		harness.Put(t, filepath.Join(dir, name), "secret "+name)
	}
	return dir
}

// ciphertexts counts the whole ciphertexts below a directory, and finds what is
// not whole.
func ciphertexts(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, st os.FileInfo, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(st.Name(), ".kmsfs-"):
			t.Errorf("left behind: %s", path)
		case strings.HasSuffix(path, ".cipher"):
			n++
			if not := (blobs.Recogniser{}).Recognise([]byte(harness.Read(t, path))).Refusal(); not != nil {
				t.Errorf("%s: %v", path, not)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func encryptCalls(t *testing.T, l *lab.Lab) int {
	t.Helper()
	calls, err := l.Calls()
	if err != nil {
		t.Fatal(err)
	}
	return calls["Encrypt"]
}

func encryptIn(l *lab.Lab, dir string, args ...string) *exec.Cmd {
	cmd := l.Command(append([]string{"encrypt", "--key", lab.Alias}, args...)...)
	cmd.Dir = dir
	return cmd
}

// An account's quota is waited for: no file fails for it.
func TestEncryptWaitsForTheQuota(t *testing.T) {
	l := harness.NewLab(t, "--qps", "20")
	dir := plainFiles(t, 200)
	begun := time.Now()
	o := harness.RunCommand(t, encryptIn(l, dir, "--recursive", "."))
	took := time.Since(begun)
	if o.Code != 0 || o.Stdout != "" || o.Stderr != "200 encrypted\n" || ciphertexts(t, dir) != 200 {
		t.Errorf("exit code %d, %d files\n%s%s", o.Code, ciphertexts(t, dir), o.Stdout, o.Stderr)
	}
	t.Logf("200 files at 20 calls a second: %v, %d calls", took.Round(time.Millisecond), encryptCalls(t, l))
	for _, name := range []string{"sub/000", "199"} {
		if out, err := l.Kmsfs(nil, "decrypt", filepath.Join(dir, name+".cipher")); err != nil || out != "secret "+name {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

// A signal ends the run soon and leaves whole files only; the next run does
// what is left.
func TestEncryptInterruptedLeavesWholeFiles(t *testing.T) {
	l := harness.NewLab(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		dir := plainFiles(t, 60)
		if err := l.Fault(map[string]any{"action": "Encrypt", "delay": "1s"}); err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd := encryptIn(l, dir, "-r", ".")
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "some files are encrypted", func() bool {
			found, _ := filepath.Glob(dir + "/*.cipher")
			return len(found) >= 8
		})
		signalled := time.Now()
		cmd.Process.Signal(sig)
		cmd.Wait()
		if took := time.Since(signalled); took > 900*time.Millisecond {
			t.Errorf("%v: it ended after %v", sig, took)
		}
		said := regexp.MustCompile(`^(\d+) encrypted, (\d+) left: run again with --missing\n$`).FindStringSubmatch(stderr.String())
		if cmd.ProcessState.ExitCode() != 1 || said == nil {
			t.Fatalf("%v: %v\n%s", sig, cmd.ProcessState, &stderr)
		}
		done, _ := strconv.Atoi(said[1])
		left, _ := strconv.Atoi(said[2])
		if done+left != 60 || ciphertexts(t, dir) != done {
			t.Errorf("%v: %s of 60, there are %d", sig, said[0], ciphertexts(t, dir))
		}
		if err := l.ClearFaults(); err != nil {
			t.Fatal(err)
		}
		before := encryptCalls(t, l)
		o := harness.RunCommand(t, encryptIn(l, dir, "-r", "--missing", "."))
		if want := fmt.Sprintf("%d encrypted, %d already encrypted\n", left, done); o.Code != 0 || o.Stderr != want || ciphertexts(t, dir) != 60 || encryptCalls(t, l)-before != left {
			t.Errorf("%v: again: exit code %d, %d calls, want %q\n%s", sig, o.Code, encryptCalls(t, l)-before, want, o.Stderr)
		}
	}
	// Nor does it wait for an input that never comes.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd := encryptIn(l, t.TempDir(), "-")
	cmd.Stdin = r
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := w.WriteString("half a secret"); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "it reads", func() bool {
		unread, err := unix.IoctlGetInt(int(w.Fd()), unix.TIOCINQ)
		return err == nil && unread == 0
	})
	cmd.Process.Signal(syscall.SIGINT)
	killer := time.AfterFunc(harness.Patience, func() { cmd.Process.Kill() })
	defer killer.Stop()
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("without input: %v", cmd.ProcessState)
	}
}

// kmsfs encrypt * may be run again: nothing is encrypted twice, and whoever
// wants what is missing hears no complaint.
func TestEncryptTwiceEncryptsNothingTwice(t *testing.T) {
	l := harness.NewLab(t)
	dir := t.TempDir()
	harness.Put(t, dir+"/key.pem", "secret")
	glob := func(more ...string) harness.Outcome {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			more = append(more, e.Name())
		}
		return harness.RunCommand(t, encryptIn(l, dir, more...))
	}
	if o := glob(); o.Code != 0 || o.Stderr != "" {
		t.Fatalf("exit code %d\n%s", o.Code, o.Stderr)
	}
	first, calls := harness.Read(t, dir+"/key.pem.cipher"), encryptCalls(t, l)
	o := glob()
	if o.Code != 1 || strings.Count(o.Stderr, "\n") != 5 || !strings.Contains(o.Stderr, `kmsfs: encrypt "key.pem": "key.pem.cipher" exists`+"\n") ||
		!strings.Contains(o.Stderr, `kmsfs: encrypt "key.pem.cipher": it is a ciphertext already`+"\n") {
		t.Errorf("again: exit code %d\n%s", o.Code, o.Stderr)
	}
	if o := glob("--missing"); o.Code != 0 || o.Stderr != "0 encrypted, 1 already encrypted\n" {
		t.Errorf("--missing: exit code %d\n%s", o.Code, o.Stderr)
	}
	// Under any name, and from any input.
	harness.Put(t, dir+"/copy", first)
	if o := harness.RunCommand(t, encryptIn(l, dir, "copy")); o.Code != 1 || !strings.Contains(o.Stderr, "ciphertext already") || !strings.Contains(o.Stderr, "hint: --force") {
		t.Errorf("a copy: exit code %d\n%s", o.Code, o.Stderr)
	}
	cmd := encryptIn(l, dir, "-")
	cmd.Stdin = strings.NewReader(first)
	if o := harness.RunCommand(t, cmd); o.Code != 1 || o.Stdout != "" || !strings.Contains(o.Stderr, "ciphertext already") {
		t.Errorf("from a pipe: exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	if n := encryptCalls(t, l); n != calls || harness.Read(t, dir+"/key.pem.cipher") != first {
		t.Errorf("%d calls for nothing", n-calls)
	}
	// What is older than its plaintext is missing, and so is an empty file.
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(dir+"/key.pem", later, later); err != nil {
		t.Fatal(err)
	}
	os.Remove(dir + "/copy")
	if o := glob("--missing"); o.Code != 0 || o.Stderr != "1 encrypted\n" || harness.Read(t, dir+"/key.pem.cipher") == first {
		t.Errorf("a newer plaintext: exit code %d\n%s", o.Code, o.Stderr)
	}
	harness.Put(t, dir+"/empty", "secret")
	harness.Put(t, dir+"/empty.cipher", "")
	if o := harness.RunCommand(t, encryptIn(l, dir, "--missing", "empty")); o.Code != 0 || o.Stderr != "" || ciphertexts(t, dir) != 2 {
		t.Errorf("over an empty file: exit code %d\n%s", o.Code, o.Stderr)
	}
	if o := harness.RunCommand(t, encryptIn(l, dir, "--force", "key.pem.cipher")); o.Code != 0 || ciphertexts(t, dir) != 3 {
		t.Errorf("--force: exit code %d\n%s", o.Code, o.Stderr)
	}
}

// --recursive takes regular files and nothing else, each once.
func TestEncryptRecursiveTakesRegularFilesOnce(t *testing.T) {
	l := harness.NewLab(t)
	dir := plainFiles(t, 5)
	harness.Put(t, dir+"/.kmsfs-123", "half a ciphertext")
	harness.Put(t, dir+"/.hidden", "secret")
	harness.Put(t, dir+"/old.cipher", "not looked at")
	for link, target := range map[string]string{"link": "001", "outside": "/etc/hostname", "loop": "."} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(dir+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	if o := harness.RunCommand(t, encryptIn(l, dir, ".")); o.Code != 1 || !strings.Contains(o.Stderr, "is a directory") || !strings.Contains(o.Stderr, "hint: --recursive") {
		t.Errorf("without it: exit code %d\n%s", o.Code, o.Stderr)
	}
	if o := harness.RunCommand(t, encryptIn(l, dir, "-r", ".", "sub", "001")); o.Code != 0 || o.Stderr != "6 encrypted\n" || encryptCalls(t, l) != 6 {
		t.Errorf("exit code %d, %d calls\n%s", o.Code, encryptCalls(t, l), o.Stderr)
	}
	for _, name := range []string{"link", "outside", "pipe", "old.cipher", ".kmsfs-123"} {
		if _, err := os.Lstat(filepath.Join(dir, name+".cipher")); err == nil {
			t.Errorf("%s was encrypted", name)
		}
	}
	if got := harness.Read(t, dir+"/old.cipher"); got != "not looked at" {
		t.Errorf("old.cipher: %q", got)
	}
	// A link that is an argument was meant.
	if err := os.Symlink("sub", dir+"/by-link"); err != nil {
		t.Fatal(err)
	}
	if o := harness.RunCommand(t, encryptIn(l, dir, "-r", "--missing", "by-link")); o.Code != 0 || o.Stderr != "0 encrypted, 2 already encrypted\n" {
		t.Errorf("exit code %d\n%s", o.Code, o.Stderr)
	}
}

// What is replaced leaves its owner, mode and ACL to the next one.
func TestEncryptForceKeepsOwnerModeAndACL(t *testing.T) {
	harness.NeedMount(t) // root
	l := harness.NewLab(t)
	dir := t.TempDir()
	harness.Put(t, dir+"/a", "secret")
	harness.Put(t, dir+"/a.cipher", "old")
	if err := os.Chown(dir+"/a.cipher", 33, 34); err != nil {
		t.Fatal(err)
	}
	var acl []byte // rw-,user:65534:r--,r--,mask r--,---
	acl = binary.LittleEndian.AppendUint32(acl, 2)
	for _, e := range [][3]uint32{{1, 6, ^uint32(0)}, {2, 4, 65534}, {4, 4, ^uint32(0)}, {16, 4, ^uint32(0)}, {32, 0, ^uint32(0)}} {
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[0]))
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[1]))
		acl = binary.LittleEndian.AppendUint32(acl, e[2])
	}
	const name = "system.posix_acl_access"
	if err := unix.Setxattr(dir+"/a.cipher", name, acl, 0); err != nil {
		t.Fatalf("the file system of TMPDIR: %v", err)
	}
	if o := harness.RunCommand(t, encryptIn(l, dir, "--force", "a")); o.Code != 0 || o.Stderr != "" || ciphertexts(t, dir) != 1 {
		t.Fatalf("exit code %d\n%s", o.Code, o.Stderr)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/a.cipher", &st); err != nil || st.Uid != 33 || st.Gid != 34 || st.Mode&0o7777 != 0o640 {
		t.Errorf("owner %d:%d, mode %o, %v", st.Uid, st.Gid, st.Mode, err)
	}
	got := make([]byte, 256)
	if n, err := unix.Getxattr(dir+"/a.cipher", name, got); err != nil || !bytes.Equal(got[:n], acl) {
		t.Errorf("ACL %x, %v", got[:max(n, 0)], err)
	}
}

// A call is not paid for what could not be written.
func TestEncryptPaysForNothingThatCannotBeWritten(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	dir := t.TempDir()
	long := strings.Repeat("n", 249)
	for _, name := range []string{"text", "taken", "taken.cipher", "linked", "device", long, "a file"} {
		harness.Put(t, filepath.Join(dir, name), "secret")
	}
	if err := os.Symlink("taken", dir+"/linked.cipher"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/device.cipher", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/ro", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args       []string
		says, hint string
	}{
		{[]string{"taken"}, "exists", "--force"},
		{[]string{"linked"}, "not a regular file", "a link leads to"},
		{[]string{"device"}, "not a regular file", ""},
		{[]string{long}, "longer than 255 bytes", "--output"},
		{[]string{"--output", "none/text.cipher", "text"}, "no such directory", "mkdir -p"},
		{[]string{"--output", "a file/text.cipher", "text"}, "not a directory", ""},
		{[]string{"--output", "ro/text.cipher", "text"}, "read-only file system", ""},
		{[]string{"/dev/null"}, "no regular file", "--output"},
	} {
		cmd := encryptIn(l, dir, c.args...)
		cmd.Args = append([]string{"unshare", "-m", "sh", "-c", `mount -t tmpfs -o ro none ro && exec "$@"`, "sh"}, append([]string{filepath.Join(harness.BinDir, "kmsfs")}, cmd.Args[1:]...)...)
		cmd.Path = harness.Program(t, "unshare")
		if o := harness.RunCommand(t, cmd); o.Code != 1 || !strings.Contains(o.Stderr, c.says) || c.hint != "" && !strings.Contains(o.Stderr, "hint: ") || !strings.Contains(o.Stderr, c.hint) {
			t.Errorf("%q: exit code %d, want %q\n%s", c.args, o.Code, c.says, o.Stderr)
		}
	}
	if n := encryptCalls(t, l); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// A shell's <(…) has no place beside it.
func TestEncryptOfASubstitutionNeedsOutput(t *testing.T) {
	l := harness.NewLab(t)
	dir := t.TempDir()
	run := func(line string) harness.Outcome {
		cmd := exec.Command("bash", "-c", line)
		cmd.Env = l.Env("K="+lab.Alias, "kmsfs="+filepath.Join(harness.BinDir, "kmsfs"))
		cmd.Dir = dir
		return harness.RunCommand(t, cmd)
	}
	if o := run(`"$kmsfs" encrypt -k "$K" <(echo secret)`); o.Code != 1 || !strings.Contains(o.Stderr, "no regular file") || !strings.Contains(o.Stderr, "hint: say with --output") || encryptCalls(t, l) != 0 {
		t.Errorf("exit code %d, %d calls\n%s", o.Code, encryptCalls(t, l), o.Stderr)
	}
	if o := run(`"$kmsfs" encrypt -k "$K" /dev/stdin <<<secret`); o.Code != 1 || !strings.Contains(o.Stderr, "hint: say with --output") || encryptCalls(t, l) != 0 {
		t.Errorf("/dev/stdin: exit code %d, %d calls\n%s", o.Code, encryptCalls(t, l), o.Stderr)
	}
	if o := run(`"$kmsfs" encrypt -k "$K" --output a.cipher <(echo secret)`); o.Code != 0 || o.Stderr != "" || ciphertexts(t, dir) != 1 {
		t.Errorf("--output: exit code %d\n%s", o.Code, o.Stderr)
	}
	if o := run(`"$kmsfs" decrypt a.cipher`); o.Stdout != "secret\n" {
		t.Errorf("reads %q", o.Stdout)
	}
}

// A file system with neither hard links nor a rename that replaces nothing will
// do (ossfs, s3fs; here sshfs, over a pipe).
func TestEncryptNeedsNoHardLinks(t *testing.T) {
	harness.NeedMount(t)
	const server = "/usr/lib/openssh/sftp-server"
	for _, name := range []string{"sshfs", server} {
		if _, err := exec.LookPath(name); err != nil && os.Getenv("CI") != "" {
			t.Fatalf("%v; make setup installs it", err)
		} else if err != nil {
			t.Skipf("SKIPPED, NOT TESTED: %v; make setup installs it", err)
		}
	}
	l := harness.NewLab(t)
	dir, point := t.TempDir(), t.TempDir()
	harness.Put(t, dir+"/ssh", "#!/bin/sh\nexec "+server+"\n")
	if err := os.Chmod(dir+"/ssh", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/far", 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sshfs", "-o", "disable_hardlink,ssh_command="+dir+"/ssh", "far:"+dir+"/far", point).CombinedOutput(); err != nil {
		t.Fatalf("sshfs: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(point, 0); err != nil {
			t.Error(err)
		}
		harness.WaitGone(t, point)
	})
	harness.Put(t, dir+"/a", "far away")
	if err := os.Link(dir+"/a", point+"/a"); err == nil {
		t.Fatal("it has hard links")
	}
	at := func(args ...string) harness.Outcome {
		return harness.RunCommand(t, encryptIn(l, dir, append(args, "--output", point+"/a.cipher", "a")...))
	}
	if o := at(); o.Code != 0 || o.Stderr != "" {
		t.Fatalf("exit code %d\n%s", o.Code, o.Stderr)
	}
	first := harness.Read(t, dir+"/far/a.cipher")
	if out, err := l.Kmsfs(nil, "decrypt", point+"/a.cipher"); err != nil || out != "far away" {
		t.Errorf("reads %q, %v", out, err)
	}
	if o := at(); o.Code != 1 || !strings.Contains(o.Stderr, "exists") || harness.Read(t, dir+"/far/a.cipher") != first {
		t.Errorf("once more: exit code %d\n%s", o.Code, o.Stderr)
	}
	if o := at("--force"); o.Code != 0 || o.Stderr != "" || harness.Read(t, dir+"/far/a.cipher") == first || ciphertexts(t, dir+"/far") != 1 {
		t.Errorf("--force: exit code %d\n%s", o.Code, o.Stderr)
	}
}

// What a mount warns of, a command says with -v.
func TestVerboseCommandsWarnAsAMountDoes(t *testing.T) {
	l := harness.NewLab(t)
	dir := t.TempDir()
	harness.Put(t, dir+"/a", "secret")
	for _, args := range []string{"encrypt --force --key " + lab.Alias + " a", "decrypt a.cipher", "verify .", "list-keys", "describe-key " + lab.Alias, "create-key"} {
		for _, verbose := range []bool{false, true} {
			words := strings.Fields(args)
			if verbose {
				words = append(words, "-v")
			}
			cmd := l.Command(words...)
			cmd.Dir = dir
			o := harness.RunCommand(t, cmd)
			for _, what := range []string{"outside aliyuncs.com", "ca_file"} {
				if n := strings.Count(o.Stderr, what); o.Code != 0 || verbose != (n == 1) {
					t.Errorf("%q: exit code %d, %s %d times\n%s", words, o.Code, what, n, o.Stderr)
				}
			}
		}
	}
}
