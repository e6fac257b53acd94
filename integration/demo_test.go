package integration_test

import (
	"bufio"
	"bytes"
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
	"sync"
	"syscall"
	"testing"
	"time"
)

// The demonstration (integration/demo) leaves nothing behind, however it ends.

const demoPatience = 60 * time.Second

var (
	demoStep = regexp.MustCompile(`^step +(\d+)/(\d+) `)

	buildDemo = sync.OnceValues(func() ([]byte, error) {
		return exec.Command("go", "build", "-o", filepath.Join(binDir, "demo"), "github.com/kmsfs/kmsfs/integration/demo").CombinedOutput()
	})
)

// demoRun is a demonstration in a process group of its own, as a shell would
// start it, with programs and a temporary directory that nobody else uses.
type demoRun struct {
	t     *testing.T
	cmd   *exec.Cmd
	top   string // everything that belongs to it has this in its name
	lines chan string
	said  []string
}

func newDemoRun(t *testing.T) *demoRun {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("SKIPPED, NOT TESTED: the demonstration mounts as root")
	}
	if out, err := buildDemo(); err != nil {
		t.Fatalf("build the demonstration: %v\n%s", err, out)
	}
	d := &demoRun{t: t, top: t.TempDir(), lines: make(chan string, 1000)}
	for _, dir := range []string{"bin", "tmp"} {
		if err := os.Mkdir(filepath.Join(d.top, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// Copied by another process: a descriptor that this one has open for writing
	// could get into a child, and the program would be busy.
	cp := exec.Command("cp", "kmsfs", "kms-emulator", "demo", filepath.Join(d.top, "bin"))
	cp.Dir = binDir
	if out, err := cp.CombinedOutput(); err != nil {
		t.Fatalf("copy the programs: %v\n%s", err, out)
	}
	return d
}

func startDemo(t *testing.T, args ...string) *demoRun {
	t.Helper()
	d := newDemoRun(t)
	bin := filepath.Join(d.top, "bin")
	d.start(exec.Command(filepath.Join(bin, "demo"), append([]string{"-bin", bin}, args...)...))
	return d
}

func (d *demoRun) start(cmd *exec.Cmd) {
	d.t.Helper()
	d.cmd = cmd
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Join(d.top, "tmp"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	read, write, err := os.Pipe()
	if err != nil {
		d.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = write, write
	err = cmd.Start()
	write.Close()
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { d.signal(syscall.SIGKILL) })
	go func() {
		defer close(d.lines)
		defer read.Close()
		for s := bufio.NewScanner(read); s.Scan(); {
			d.lines <- s.Text()
		}
	}()
}

// signal signals the whole group, as a terminal does.
func (d *demoRun) signal(s syscall.Signal) { syscall.Kill(-d.cmd.Process.Pid, s) }

// line returns the next line that was printed, false after the last one.
func (d *demoRun) line() (string, bool) {
	d.t.Helper()
	select {
	case l, ok := <-d.lines:
		if ok {
			d.said = append(d.said, l)
		}
		return l, ok
	case <-time.After(demoPatience):
		d.t.Fatalf("nothing more was printed; so far:\n%s", strings.Join(d.said, "\n"))
		return "", false
	}
}

// until reads up to a line that matches.
func (d *demoRun) until(match *regexp.Regexp) string {
	d.t.Helper()
	for {
		l, ok := d.line()
		if !ok {
			d.t.Fatalf("%v was not printed:\n%s", match, strings.Join(d.said, "\n"))
		}
		if match.MatchString(l) {
			return l
		}
	}
}

func (d *demoRun) untilStep(n int) (steps int) {
	d.t.Helper()
	l := d.until(regexp.MustCompile(fmt.Sprintf(`^step +%d/`, n)))
	steps, _ = strconv.Atoi(demoStep.FindStringSubmatch(l)[2])
	return steps
}

// end reads the rest and returns the exit code. That the pipe has come to its
// end says already that nothing that inherited it lives.
func (d *demoRun) end() int {
	d.t.Helper()
	for {
		if _, ok := d.line(); !ok {
			break
		}
	}
	d.cmd.Wait()
	return d.cmd.ProcessState.ExitCode()
}

// leftovers fails the test if anything of the demonstration is still there.
func (d *demoRun) leftovers() {
	d.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		d.t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(d.top)) {
		d.t.Errorf("a mount is left below %s", d.top)
	}
	for _, p := range processesOf(d.t, d.top) {
		d.t.Errorf("a process is left: %s", p)
	}
	left, err := os.ReadDir(filepath.Join(d.top, "tmp"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range left {
		d.t.Errorf("%s is left", e.Name())
	}
	if d.t.Failed() {
		d.t.Logf("it printed:\n%s", strings.Join(d.said, "\n"))
	}
}

// cleanedUp fails the test unless everything is gone, and was said to be.
func (d *demoRun) cleanedUp() {
	d.t.Helper()
	if !strings.Contains(strings.Join(d.said, "\n"), " clean-up ") {
		d.t.Error("it did not say that it cleaned up")
	}
	d.leftovers()
}

// processesOf lists the processes that have a directory in their executable,
// working directory or arguments: the built programs, openssl, nginx and its
// workers.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		proc := filepath.Join("/proc", e.Name())
		exe, _ := os.Readlink(filepath.Join(proc, "exe"))
		cwd, _ := os.Readlink(filepath.Join(proc, "cwd"))
		args, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		if strings.Contains(exe+" "+cwd+" "+string(args), dir) {
			found = append(found, fmt.Sprintf("%d %s %s", pid, exe, bytes.ReplaceAll(args, []byte{0}, []byte(" "))))
		}
	}
	return found
}

func TestDemo(t *testing.T) {
	t.Parallel()
	d := startDemo(t)
	if code := d.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	d.leftovers()
	said := strings.Join(d.said, "\n")
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
func TestDemoInterruptedAfterEachStep(t *testing.T) {
	t.Parallel()
	for n, steps := 1, 3; n < steps; n++ {
		t.Run(fmt.Sprint("after ", n), func(t *testing.T) {
			d := startDemo(t, "-pause", strconv.Itoa(n))
			steps = d.untilStep(n)
			d.signal(syscall.SIGINT)
			// Impatience does not cut the clean-up short.
			d.until(regexp.MustCompile(`^interrupt: cleaning up$`))
			d.signal(syscall.SIGINT)
			d.signal(syscall.SIGTERM)
			if code := d.end(); code != 130 {
				t.Errorf("exit code %d, want 130\n%s", code, strings.Join(d.said, "\n"))
			}
			d.cleanedUp()
		})
		t.Run(fmt.Sprint("in ", n+1), func(t *testing.T) {
			d := startDemo(t)
			d.untilStep(n)
			d.signal(syscall.SIGINT)
			// The next step and the clean-up may have been faster.
			if code := d.end(); code != 130 && code != 0 {
				t.Errorf("exit code %d, want 130\n%s", code, strings.Join(d.said, "\n"))
			}
			d.cleanedUp()
		})
	}
}

// Signals at any time, also several, and also those that are not SIGINT.
func TestDemoInterruptedAnytime(t *testing.T) {
	t.Parallel()
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT}
	for n := range 16 {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			s := signals[n%len(signals)]
			d := startDemo(t)
			d.untilStep(1)
			select {
			case <-time.After(rand.N(400 * time.Millisecond)):
			case <-t.Context().Done():
			}
			for range 1 + n%3 {
				d.signal(s)
			}
			if code := d.end(); code != 128+int(s) && code != 0 {
				t.Errorf("exit code %d after %v", code, s)
			}
			d.leftovers()
		})
	}
}

func TestDemoOutputClosed(t *testing.T) {
	t.Parallel()
	d := newDemoRun(t)
	bin := filepath.Join(d.top, "bin")
	cmd := exec.Command(filepath.Join(bin, "demo"), "-bin", bin)
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Join(d.top, "tmp"))
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
	d.leftovers()
}

func TestDemoKeep(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "-keep")
	l := d.until(regexp.MustCompile(`^ +ls -l /`))
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
	seen := strings.Join(processesOf(t, d.top), "\n")
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
	d.signal(syscall.SIGINT)
	if code := d.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	visitor.Process.Kill()
	visitor.Wait()
	d.leftovers()
}

func TestDemoFails(t *testing.T) {
	t.Parallel()
	d := newDemoRun(t)
	bin := filepath.Join(d.top, "bin")
	if err := os.Remove(filepath.Join(bin, "kmsfs")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/false", filepath.Join(bin, "kmsfs")); err != nil {
		t.Fatal(err)
	}
	d.start(exec.Command(filepath.Join(bin, "demo"), "-bin", bin))
	if code := d.end(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if said := strings.Join(d.said, "\n"); !strings.Contains(said, "demo: key: ") {
		t.Errorf("it did not say what failed:\n%s", said)
	}
	d.leftovers()
}

// What a user does: make demo, and Ctrl-C.
func TestMakeDemo(t *testing.T) {
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
			d := newDemoRun(t)
			// Not as a part of the make that may run this test.
			cmd := exec.Command("env", append([]string{"-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "-C", "..", "demo",
				"BIN=" + filepath.Join(d.top, "bin")}, c.args...)...)
			d.start(cmd)
			if c.step > 0 {
				d.untilStep(c.step)
				d.signal(syscall.SIGINT)
			}
			code := d.end()
			d.leftovers()
			if said := strings.Join(d.said, "\n"); (code == 0) != (c.step == 0) || !strings.Contains(said, c.says) {
				t.Errorf("exit code %d\n%s", code, said)
			}
		})
	}
}
