package secrecy_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// memoryDir is a directory in memory, of at most so many bytes, where a
// plaintext that a test finds does no harm.
func memoryDir(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	unmount := undo(t, `! mountpoint -q "$1" || umount "$1"`, dir)
	if _, err := harness.Run("mount", "-t", "tmpfs", "-o", "mode=0700,size="+size, "none", dir); err != nil {
		unmount()
		cannot(t, "a file system in memory", err)
	}
	return dir
}

// gcore makes gdb write a core of a process, as an administrator would.
func gcore(t testing.TB, pid int, dir string) string {
	t.Helper()
	if _, err := exec.LookPath("gcore"); err != nil {
		cannot(t, "gcore; make setup installs it", err)
	}
	if _, err := harness.Run("gcore", "-o", filepath.Join(dir, "core"), harness.Itoa(pid)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "core."+harness.Itoa(pid))
}

// A core that root makes of the running process lacks the arena. What else it
// has are the buffers that are in memory outside the arena, too.
func TestCanaryIsInNoCoreByRoot(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	dir := memoryDir(t, "512m")
	c := newCanary()
	pid, _ := hold(t, c)
	core := gcore(t, pid, dir)
	if len(inFile(t, core, c)) == 0 {
		t.Fatal("the search does not find what is in an unprotected process's core")
	}
	if err := os.Remove(core); err != nil {
		t.Fatal(err)
	}
	m := harness.Mount(t, l, "")
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, c.text))
	harness.Read(t, m.Path("a"))
	arena, outside := inMemory(t, m.PID, c)
	if len(arena) != 1 {
		t.Fatalf("in the arena: %v", arena)
	}
	outsideAtMost(t, "in memory", outside, 1)
	found := inFile(t, gcore(t, m.PID, dir), c)
	t.Logf("%d copies in the core", len(copies(found)))
	if len(copies(found)) > len(copies(outside)) {
		t.Errorf("more than was outside the arena: %v", found)
	}
	if harness.Read(t, m.Path("a")) != c.text {
		t.Error("it does not serve any more")
	}
}

// catchCores has the kernel pipe every core into a directory until the test
// ends. That a program is not dumpable is all that keeps it out: the limit for
// core files does not bind a pipe. It says how a core's file is called.
func catchCores(t testing.TB) func(pid int) string {
	t.Helper()
	const pattern, dumpable = "/proc/sys/kernel/core_pattern", "/proc/sys/fs/suid_dumpable"
	dir := memoryDir(t, "256m")
	helper := filepath.Join(dir, "core")
	if len(helper)+4 > 127 {
		t.Fatalf("%s is too long a path for a core_pattern", helper)
	}
	if err := os.WriteFile(helper, []byte("#!/bin/sh\ncat > \"$0.$1.part\" && mv \"$0.$1.part\" \"$0.$1\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(pattern)
	if err != nil {
		cannot(t, "core_pattern", err)
	}
	setid, err := os.ReadFile(dumpable)
	if err != nil {
		cannot(t, "suid_dumpable", err)
	}
	undo(t, `printf '%s\n' "$1" > `+pattern+` && printf '%s\n' "$2" > `+dumpable, strings.TrimSuffix(string(before), "\n"), strings.TrimSpace(string(setid)))
	for file, value := range map[string]string{pattern: "|" + helper + " %p", dumpable: "2"} {
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			cannot(t, "set "+file, err)
		}
	}
	return func(pid int) string { return helper + "." + harness.Itoa(pid) }
}

// A crash leaves no core, even where the kernel pipes cores into a program
// whatever the limits say, and even those of set-user-id programs.
func TestCanaryIsInNoCoreOfACrash(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	coreOf := catchCores(t)
	c := newCanary()
	// The runtime handles SIGABRT and would only exit: with this, it passes
	// the signal on to the kernel.
	m := harness.Mount(t, within(t, l, "env", "GOTRACEBACK=crash"), "")
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, c.text))
	harness.Read(t, m.Path("a"))
	if err := syscall.Kill(m.PID, syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	<-m.Done
	m.Cmd.Wait()
	if o := harness.RunCommand(t, exec.Command(filepath.Join(harness.BinDir, "kmsfs"), "umount", m.Point)); o.Code != 0 {
		t.Errorf("umount: %s", o.Stderr)
	}
	if s := m.Cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGABRT || s.CoreDump() {
		t.Errorf("signal %v, core dumped %t", s.Signal(), s.CoreDump())
	}
	if !strings.Contains(m.Log(), "SIGABRT") {
		t.Errorf("it left no account of its crash:\n%s", m.Tail())
	}

	pid, control := hold(t, c)
	if err := syscall.Kill(pid, syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	control.Wait()
	if s := control.ProcessState.Sys().(syscall.WaitStatus); !s.CoreDump() {
		t.Fatalf("the unprotected process left no core: %v", control.ProcessState)
	}
	harness.Eventually(t, "the control's core", func() bool { _, err := os.Stat(coreOf(pid)); return err == nil })
	if len(inFile(t, coreOf(pid), c)) == 0 {
		t.Fatal("the search does not find what is in an unprotected process's core")
	}
	for _, path := range []string{coreOf(m.PID), coreOf(m.PID) + ".part"} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("kmsfs left a core: %v", err)
		}
	}
	spotless(t, l, m, c)
}
