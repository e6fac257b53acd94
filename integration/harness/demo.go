package harness

import (
	"bufio"
	"bytes"
	"fmt"
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
		return exec.Command("go", "build", "-o", filepath.Join(BinDir, "demo"), "github.com/kmsfs/kmsfs/integration/demo").CombinedOutput()
	})
)

// DemoRun is a demonstration in a process group of its own, as a shell would
// start it, with programs and a temporary directory that nobody else uses.
type DemoRun struct {
	t     *testing.T
	cmd   *exec.Cmd
	Top   string // everything that belongs to it has this in its name
	lines chan string
	Said  []string
}

// NewDemoRun prepares a demonstration that has not begun.
func NewDemoRun(t *testing.T) *DemoRun {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("SKIPPED, NOT TESTED: the demonstration mounts as root")
	}
	if out, err := buildDemo(); err != nil {
		t.Fatalf("build the demonstration: %v\n%s", err, out)
	}
	d := &DemoRun{t: t, Top: t.TempDir(), lines: make(chan string, 1000)}
	for _, dir := range []string{"bin", "tmp"} {
		if err := os.Mkdir(filepath.Join(d.Top, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// Copied by another process: a descriptor that this one has open for writing
	// could get into a child, and the program would be busy.
	cp := exec.Command("cp", "kmsfs", "kms-emulator", "demo", filepath.Join(d.Top, "bin"))
	cp.Dir = BinDir
	if out, err := cp.CombinedOutput(); err != nil {
		t.Fatalf("copy the programs: %v\n%s", err, out)
	}
	return d
}

// Start starts it by a command.
func (d *DemoRun) Start(cmd *exec.Cmd) {
	d.t.Helper()
	d.cmd = cmd
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Join(d.Top, "tmp"))
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
	d.t.Cleanup(func() { d.Signal(syscall.SIGKILL) })
	go func() {
		defer close(d.lines)
		defer read.Close()
		for s := bufio.NewScanner(read); s.Scan(); {
			d.lines <- s.Text()
		}
	}()
}

// Signal signals the whole group, as a terminal does.
func (d *DemoRun) Signal(s syscall.Signal) { syscall.Kill(-d.cmd.Process.Pid, s) }

// line returns the next line that was printed, false after the last one.
func (d *DemoRun) line() (string, bool) {
	d.t.Helper()
	select {
	case l, ok := <-d.lines:
		if ok {
			d.Said = append(d.Said, l)
		}
		return l, ok
	case <-time.After(demoPatience):
		d.t.Fatalf("nothing more was printed; so far:\n%s", strings.Join(d.Said, "\n"))
		return "", false
	}
}

// Until reads up to a line that matches.
func (d *DemoRun) Until(match *regexp.Regexp) string {
	d.t.Helper()
	for {
		l, ok := d.line()
		if !ok {
			d.t.Fatalf("%v was not printed:\n%s", match, strings.Join(d.Said, "\n"))
		}
		if match.MatchString(l) {
			return l
		}
	}
}

// UntilStep reads up to a step, and returns how many there are.
func (d *DemoRun) UntilStep(n int) (steps int) {
	d.t.Helper()
	l := d.Until(regexp.MustCompile(fmt.Sprintf(`^step +%d/`, n)))
	steps, _ = strconv.Atoi(demoStep.FindStringSubmatch(l)[2])
	return steps
}

// End reads the rest and returns the exit code. That the pipe has come to its
// end says already that nothing that inherited it lives.
func (d *DemoRun) End() int {
	d.t.Helper()
	for {
		if _, ok := d.line(); !ok {
			break
		}
	}
	d.cmd.Wait()
	return d.cmd.ProcessState.ExitCode()
}

// Leftovers fails the test if anything of the demonstration is still there.
func (d *DemoRun) Leftovers() {
	d.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		d.t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(d.Top)) {
		d.t.Errorf("a mount is left below %s", d.Top)
	}
	for _, p := range ProcessesOf(d.t, d.Top) {
		d.t.Errorf("a process is left: %s", p)
	}
	left, err := os.ReadDir(filepath.Join(d.Top, "tmp"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range left {
		d.t.Errorf("%s is left", e.Name())
	}
	if d.t.Failed() {
		d.t.Logf("it printed:\n%s", strings.Join(d.Said, "\n"))
	}
}

// CleanedUp fails the test unless everything is gone, and was said to be.
func (d *DemoRun) CleanedUp() {
	d.t.Helper()
	if !strings.Contains(strings.Join(d.Said, "\n"), " clean-up ") {
		d.t.Error("it did not say that it cleaned up")
	}
	d.Leftovers()
}
