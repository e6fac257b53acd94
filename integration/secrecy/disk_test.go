package secrecy_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// image mounts a small file system of its own on dir. Everything is written to
// its image at once, so that a file which lives for a moment is there, too. It
// returns the image and what unmounts it.
func image(t *testing.T, dir string) (file string, unmount func()) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := harness.Run(harness.Program(t, "mkfs.ext4"), "-q", file); err != nil {
		t.Fatal(err)
	}
	unmount = undo(t, `! mountpoint -q "$1" || umount "$1"`, dir)
	if _, err := harness.Run("mount", "-o", "loop,sync", file, dir); err != nil {
		unmount()
		cannot(t, "a loop-mounted file system", err)
	}
	return file, unmount
}

// planted writes a canary to a file and removes it, as a program would that
// does not know better.
func planted(t testing.TB, dir string) canary {
	t.Helper()
	c := newCanary()
	path := filepath.Join(dir, "planted")
	if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	return c
}

// Everything that kmsfs and the emulator write, they write to one file system:
// no plaintext is on it, not even in blocks that are free again.
func TestCanaryIsNotOnDisk(t *testing.T) {
	harness.NeedMount(t)
	dir := t.TempDir()
	file, unmount := image(t, dir)
	c := newCanary()
	t.Run("workout", func(t *testing.T) {
		t.Setenv("TMPDIR", dir)
		l := harness.NewLab(t)
		source := t.TempDir()
		harness.Put(t, source+"/a.cipher", harness.Seal(t, l, c.text))
		harness.Put(t, source+"/filler.cipher", harness.Seal(t, l, harness.Lengthy("filler", 6000)))
		env := l.Env("GOTRACEBACK=crash")
		const options = "ttl=1s,cache_size=64KiB,timeout=1s"
		mnt, log, o := harness.TryMount(t, l, env, source, options)
		if o.Code != 0 || !strings.HasPrefix(mnt, dir) || !strings.HasPrefix(log, dir) {
			t.Fatalf("mount on %s with %s: %s", mnt, log, o.Stderr)
		}
		for range 2 {
			if harness.Read(t, mnt+"/a") != c.text {
				t.Error("wrong bytes")
			}
			for i := range 8 { // of 8 KiB each: evictions
				harness.Put(t, source+"/filler"+harness.Itoa(i)+".cipher", harness.Seal(t, l, harness.Lengthy("filler", 6000)))
				harness.Read(t, mnt+"/filler"+harness.Itoa(i))
			}
		}
		recovered := func() {
			harness.Eventually(t, "recovered", func() bool { b, err := os.ReadFile(mnt + "/a"); return err == nil && string(b) == c.text })
		}
		for _, fault := range []map[string]any{{"truncate": 1500}, {"status": 403, "code": "Forbidden.NoPermission"}} {
			recovered()
			fault["action"] = "Decrypt"
			if err := l.Fault(fault); err != nil {
				t.Fatal(err)
			}
			harness.Eventually(t, "expired", func() bool { _, err := os.ReadFile(mnt + "/a"); return err != nil })
			if err := l.ClearFaults(); err != nil {
				t.Fatal(err)
			}
		}
		recovered()
		var pid int
		said := harness.Read(t, log)
		if _, rest, ok := strings.Cut(said, " pid="); ok {
			fmt.Sscan(rest, &pid)
		}
		holder, _ := (&harness.Background{Point: mnt}).PIDs()
		syscall.Kill(holder, syscall.SIGKILL) // it would start another one
		if pid == 0 || syscall.Kill(pid, syscall.SIGABRT) != nil {
			t.Fatalf("no process %d:\n%s", pid, said)
		}
		harness.WaitGone(t, mnt)
		if mnt, _, o = harness.TryMount(t, l, env, source, options); o.Code != 0 || harness.Read(t, mnt+"/a") != c.text {
			t.Errorf("after the crash: %s", o.Stderr)
		}
		if found := inTree(t, dir, c); len(found) > 0 {
			t.Errorf("in files: %v", found)
		}
	})
	control := planted(t, dir) // last: others would write where it was
	unmount()
	if len(inFile(t, file, control)) == 0 {
		t.Fatal("the search does not find the file that was written and removed")
	}
	if found := inFile(t, file, c); len(found) > 0 {
		t.Errorf("on the disk: %v", found)
	}
}

// The demonstration makes its private key without writing it anywhere.
func TestCanaryOfDemoIsNotOnDisk(t *testing.T) {
	harness.NeedMount(t)
	d := harness.NewDemoRun(t)
	dir := filepath.Join(d.Top, "tmp")
	file, unmount := image(t, dir)
	d.Start(exec.Command("env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "GOTMPDIR="+t.TempDir(),
		"make", "-C", harness.Repository(""), "demo", "KEEP=1", "BIN="+filepath.Join(d.Top, "bin")))
	mnt := strings.TrimPrefix(strings.TrimSpace(d.Until(regexp.MustCompile(`^ +ls -l /`))), "ls -l ")
	if !strings.HasPrefix(mnt, dir) {
		t.Fatalf("the demonstration mounts on %s", mnt)
	}
	var secrets []canary
	for line := range strings.Lines(harness.Read(t, filepath.Join(mnt, "key.pem"))) {
		if line = strings.TrimSpace(line); len(line) == 64 {
			raw, err := base64.StdEncoding.DecodeString(line)
			if err != nil {
				t.Fatal(err)
			}
			secrets = append(secrets, canary{word: []byte(line)}, canary{word: raw})
		}
	}
	secrets = secrets[len(secrets)/2:] // the first third of an RSA key is public
	if len(secrets) < 10 {
		t.Fatalf("%d pieces of a key", len(secrets))
	}
	d.Signal(syscall.SIGINT)
	d.End()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "lost+found" {
		t.Errorf("it left %v, %v", left, err)
	}
	control := planted(t, dir)
	unmount()
	d.Leftovers()
	if len(inFile(t, file, control)) == 0 {
		t.Fatal("the search does not find the file that was written and removed")
	}
	if found := inFile(t, file, secrets...); len(found) > 0 {
		t.Errorf("on the disk: %d pieces of the key", len(found))
	}
}
