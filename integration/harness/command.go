package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// Outcome is what a user sees of one run.
type Outcome struct {
	Code           int
	Stdout, Stderr string
}

// RunCommand runs a command as a user would, for a minute at most.
func RunCommand(t *testing.T, cmd *exec.Cmd) Outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	killer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer killer.Stop()
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return Outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// Run runs a command and returns its output, or its complaint as the error.
func Run(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		err = errors.Join(fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err), errors.New(text))
	}
	return text, err
}

// WithEnv replaces variables; an empty value removes one.
func WithEnv(env []string, change map[string]string) []string {
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

// Program is the path of a program that the machine has; make setup installs it.
func Program(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode()&0o111 != 0 {
			return filepath.Join(dir, name)
		}
	}
	t.Fatalf("%s is not installed; make setup installs it", name)
	return ""
}

// Built is a program of the tests, and compiled when one of them needs it. On
// a machine without a compiler it has been before.
func Built(t testing.TB, directory string) string {
	t.Helper()
	path := filepath.Join(BinDir, filepath.Base(directory))
	if *AsService {
		return path
	}
	build := exec.Command("go", "build", "-o", path, Repository(directory))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", directory, err, out)
	}
	return path
}

// TryMount runs kmsfs mount in the background with an environment of its own.
// The mount is gone when the test ends.
func TryMount(t *testing.T, l *lab.Lab, env []string, source, options string) (mnt, log string, o Outcome) {
	t.Helper()
	NeedMount(t)
	mnt, log = t.TempDir(), filepath.Join(t.TempDir(), "log")
	cmd := l.Command("mount", "-o", "allow_emulator,log_file="+log, "-o", options, source, mnt)
	cmd.Env = env
	o = RunCommand(t, cmd)
	if o.Code == 0 {
		t.Cleanup(func() {
			if o := RunCommand(t, l.Command("umount", mnt)); o.Code != 0 {
				t.Errorf("umount: %s", o.Stderr)
			}
			WaitGone(t, mnt)
		})
	}
	return mnt, log, o
}

// NeedMount ends a test that cannot work here: in CI that is a failure, and
// only elsewhere a loud skip.
func NeedMount(t testing.TB) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "not root"
	} else if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		why = err.Error()
	} else {
		f.Close()
	}
	if why == "" {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("real mounts are needed here: %s", why)
	}
	t.Skipf("SKIPPED, NOT TESTED: real mounts are needed (%s)", why)
}
