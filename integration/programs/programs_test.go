package programs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// programRun is a run of a real program. The script runs in bash, in the
// directory of the files, and ends at the first failure. It may read
//
//	$D  the directory of the files
//	$O  an empty directory, on a tmpfs, for what the run writes
//	$H  the helpers in ./programs
//	$P  ./programs/probe, built
type programRun struct {
	name, script string
	code         int    // the exit status
	mapsShared   bool   // known to fail before Linux 6.6, which has no shared mapping with direct I/O
	optional     string // a program without which the run is skipped

	// A known difference: why, and what the run prints then.
	known, stdout, stderr string
}

// Real programs see a real file: what a program prints, writes and exits with
// on the mount is what it does on a tmpfs that holds the same files.
func TestProgramsSeeARealFile(t *testing.T) {
	harness.NeedMount(t)
	all := slices.Concat(textPrograms, metadataPrograms, copyPrograms, shellPrograms, languagePrograms, secretPrograms, serverPrograms, systemCalls)
	harness.EachMode(t, func(t *testing.T, mode string) {
		bench := newWorkbench(t, mode)
		seen := map[string]bool{}
		for _, p := range all {
			if seen[p.name] {
				t.Errorf("two runs are called %q", p.name)
			}
			seen[p.name] = true
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				if p.optional != "" {
					if _, err := exec.LookPath(p.optional); err != nil {
						t.Skipf("SKIPPED, NOT TESTED: %s is not installed here", p.optional)
					}
				}
				bench.compare(t, p)
			})
		}
		t.Logf("%d runs", len(all))
	})
}

// workbench holds the same files twice.
type workbench struct {
	plain   string // on a tmpfs
	mounted string // on kmsfs
	out     string // a tmpfs for what programs write
	env     []string
}

// effect is all that a run did.
type effect struct {
	code           int
	stdout, stderr string
	files          string // what it wrote
}

func (w workbench) compare(t *testing.T, p programRun) {
	t.Helper()
	want, got := w.run(t, p, w.plain), w.run(t, p, w.mounted)
	if want.code != p.code {
		t.Fatalf("exit status %d on tmpfs, want %d (if a program is missing: make setup)\nstdout: %.2000q\nstderr: %.2000s", want.code, p.code, want.stdout, want.stderr)
	}
	if want.stdout == "" && want.files == "" {
		t.Fatalf("nothing to compare: it neither prints nor writes\nstderr: %s", want.stderr)
	}
	expected := want
	if p.known != "" {
		expected.stdout, expected.stderr = p.stdout, p.stderr
	}
	switch {
	case got == expected && p.known != "":
		t.Logf("known difference: %s", p.known)
	case got == expected:
	case got == want:
		t.Logf("no longer a difference: %s", p.known)
	case p.mapsShared && got.code != 0 && harness.KernelOlderThan(6, 6):
		t.Logf("known difference: before Linux 6.6 a file with direct I/O has no shared mapping\n%s", differences(want, got))
	default:
		t.Errorf("it differs:\n%s", differences(expected, got))
	}
}

func differences(want, got effect) string {
	var b strings.Builder
	if want.code != got.code {
		fmt.Fprintf(&b, "exit status: want %d, got %d\n", want.code, got.code)
	}
	for _, f := range []struct{ name, want, got string }{
		{"stdout", want.stdout, got.stdout}, {"stderr", want.stderr, got.stderr}, {"files", want.files, got.files},
	} {
		if f.want != f.got {
			fmt.Fprintf(&b, "%s: want %.3000q\n%*s got %.3000q\n", f.name, f.want, len(f.name)+1, "", f.got)
		}
	}
	return b.String()
}

// run runs a program in a directory of its own on the tmpfs. Names that depend
// on the directory are made equal.
func (w workbench) run(t *testing.T, p programRun, dir string) effect {
	t.Helper()
	own, err := os.MkdirTemp(w.out, "")
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(own, "out")
	for _, d := range []string{out, filepath.Join(own, "home")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", "umask 077\n"+p.script)
	cmd.Dir = dir
	cmd.Env = append([]string{"D=" + dir, "O=" + out, "PWD=" + dir, "HOME=" + filepath.Join(own, "home"), "TMPDIR=" + filepath.Join(own, "home")}, w.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = harness.Patience
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); ctx.Err() != nil || err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v, %v\nstdout: %.2000q\nstderr: %.2000s", err, ctx.Err(), &stdout, &stderr)
	}
	equal := strings.NewReplacer(out, "OUT", dir, "DIR", own, "OWN")
	return effect{cmd.ProcessState.ExitCode(), equal.Replace(stdout.String()), equal.Replace(stderr.String()), listing(t, out)}
}

// listing describes a tree: names, modes, sizes, contents, and the times that
// were copied and not made just now.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		fmt.Fprintf(&b, "%s %v", name, st.Mode())
		if time.Since(st.ModTime()) > 24*time.Hour {
			fmt.Fprintf(&b, " %v", st.ModTime().UTC())
		}
		if st.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d bytes %.8x", len(content), sha256.Sum256(content))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// ramdisk is a tmpfs, the only place where the test writes plaintext.
func ramdisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=64m,mode=0500"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount the tmpfs: %v", err)
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}
