package main_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
)

func startDemo(t *testing.T, args ...string) *harness.DemoRun {
	t.Helper()
	d := harness.NewDemoRun(t)
	bin := filepath.Join(d.Top, "bin")
	d.Start(exec.Command(filepath.Join(bin, "demo"), append([]string{"-bin", bin}, args...)...))
	return d
}

func TestDemoLeavesNothing(t *testing.T) {
	t.Parallel()
	d := startDemo(t)
	if code := d.End(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	d.Leftovers()
	said := strings.Join(d.Said, "\n")
	for _, want := range []string{"at the cost of 0 Decrypt calls", " key.pem", "Key is valid", "TLS 1.3", "not found", "Decrypt calls so far: 1", "none of the"} {
		if !strings.Contains(said, want) {
			t.Errorf("it did not say %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "PRIVATE KEY") {
		t.Error("it printed the key")
	}
}

// A signal to the whole group after each step, once while the demonstration
// waits there, and once as soon as the step was reported, which finds it
// somewhere in the next one.
func TestDemoInterruptedAfterEachStepLeavesNothing(t *testing.T) {
	t.Parallel()
	for n, steps := 1, 3; n < steps; n++ {
		t.Run(fmt.Sprint("after ", n), func(t *testing.T) {
			d := startDemo(t, "-pause", strconv.Itoa(n))
			steps = d.UntilStep(n)
			d.Signal(syscall.SIGINT)
			// Impatience does not cut the clean-up short.
			d.Until(regexp.MustCompile(`^interrupt: cleaning up$`))
			d.Signal(syscall.SIGINT)
			d.Signal(syscall.SIGTERM)
			if code := d.End(); code != 130 {
				t.Errorf("exit code %d, want 130\n%s", code, strings.Join(d.Said, "\n"))
			}
			d.CleanedUp()
		})
		t.Run(fmt.Sprint("in ", n+1), func(t *testing.T) {
			d := startDemo(t)
			d.UntilStep(n)
			d.Signal(syscall.SIGINT)
			// The next step and the clean-up may have been faster.
			if code := d.End(); code != 130 && code != 0 {
				t.Errorf("exit code %d, want 130\n%s", code, strings.Join(d.Said, "\n"))
			}
			d.CleanedUp()
		})
	}
}

// Signals at any time, also several, and also those that are not SIGINT.
func TestDemoInterruptedAnytimeLeavesNothing(t *testing.T) {
	t.Parallel()
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT}
	for n := range 16 {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			s := signals[n%len(signals)]
			d := startDemo(t)
			d.UntilStep(1)
			select {
			case <-time.After(rand.N(400 * time.Millisecond)):
			case <-t.Context().Done():
			}
			for range 1 + n%3 {
				d.Signal(s)
			}
			if code := d.End(); code != 128+int(s) && code != 0 {
				t.Errorf("exit code %d after %v", code, s)
			}
			d.Leftovers()
		})
	}
}

func TestDemoWithoutReaderLeavesNothing(t *testing.T) {
	t.Parallel()
	d := harness.NewDemoRun(t)
	bin := filepath.Join(d.Top, "bin")
	cmd := exec.Command(filepath.Join(bin, "demo"), "-bin", bin)
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Join(d.Top, "tmp"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.ReadFull(out, make([]byte, 100))
	out.Close()
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 128+int(syscall.SIGPIPE) {
		t.Errorf("exit code %d", code)
	}
	d.Leftovers()
}

func TestDemoKeptStaysUntilInterrupted(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "-keep")
	l := d.Until(regexp.MustCompile(`^ +ls -l /`))
	mnt := strings.TrimPrefix(strings.TrimSpace(l), "ls -l ")
	text, err := os.ReadFile(filepath.Join(mnt, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("key.pem is not PEM")
	}
	if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		t.Error(err)
	}
	// The check for leftovers does see what there is to see.
	seen := strings.Join(harness.ProcessesOf(t, d.Top), "\n")
	for _, program := range []string{"/bin/demo ", "/bin/kms-emulator ", "/bin/kmsfs ", "/nginx "} {
		if !strings.Contains(seen, program) {
			t.Errorf("%s is not among the processes:\n%s", program, seen)
		}
	}
	// A visitor who stays does not keep the mount.
	visitor := exec.Command("sleep", "1000")
	visitor.Dir = mnt
	if err := visitor.Start(); err != nil {
		t.Fatal(err)
	}
	d.Signal(syscall.SIGINT)
	if code := d.End(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	visitor.Process.Kill()
	visitor.Wait()
	d.Leftovers()
}

func TestDemoThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	d := harness.NewDemoRun(t)
	bin := filepath.Join(d.Top, "bin")
	if err := os.Remove(filepath.Join(bin, "kmsfs")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/false", filepath.Join(bin, "kmsfs")); err != nil {
		t.Fatal(err)
	}
	d.Start(exec.Command(filepath.Join(bin, "demo"), "-bin", bin))
	if code := d.End(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if said := strings.Join(d.Said, "\n"); !strings.Contains(said, "demo: key: ") {
		t.Errorf("it did not say what failed:\n%s", said)
	}
	d.Leftovers()
}

// What a user does: make demo, and Ctrl-C.
func TestMakeDemoLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		step int
		args []string
		says string
	}{
		{"to the end", 0, nil, "CMK "},
		{"interrupted", 5, nil, "CMK "},
		{"generation 3", 0, []string{"GENERATION=3"}, "CMK key-hzz"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := harness.NewDemoRun(t)
			// Not as a part of the make that may run this test.
			cmd := exec.Command("env", append([]string{"-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "-C", harness.Repository(""), "demo",
				"BIN=" + filepath.Join(d.Top, "bin")}, c.args...)...)
			d.Start(cmd)
			if c.step > 0 {
				d.UntilStep(c.step)
				d.Signal(syscall.SIGINT)
			}
			code := d.End()
			d.Leftovers()
			if said := strings.Join(d.Said, "\n"); (code == 0) != (c.step == 0) || !strings.Contains(said, c.says) {
				t.Errorf("exit code %d\n%s", code, said)
			}
		})
	}
}
