package supervise

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fileLike is a copy of a program, in a directory that is the user's alone.
func fileLike(t *testing.T, program string) string {
	t.Helper()
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// onDisk makes a file the program that lies on disk.
func onDisk(t *testing.T, path string) {
	t.Helper()
	before := programPath
	programPath = path
	t.Cleanup(func() { programPath = before })
}

// Only a program that nobody else can change is trusted, and it is the file that
// was looked at.
func TestTrustedProgram(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(path string) error
		want  string
	}{
		"good":              {func(string) error { return nil }, ""},
		"gone":              {os.Remove, "no such file"},
		"writable":          {func(path string) error { return os.Chmod(path, 0o777) }, "others than root and this user can change"},
		"not executable":    {func(path string) error { return os.Chmod(path, 0o644) }, "no program"},
		"a directory":       {func(path string) error { os.Remove(path); return os.Mkdir(path, 0o755) }, "not a regular file"},
		"in a writable one": {func(path string) error { return os.Chmod(filepath.Dir(path), 0o777) }, "others than root and this user can change"},
	} {
		path := fileLike(t, "/bin/true")
		if err := c.spoil(path); err != nil {
			t.Fatal(err)
		}
		onDisk(t, path)
		p, err := TrustedProgram()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			os.Remove(path) // it stays what it was
			if err := exec.Command(p.open()).Run(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			p.Close()
		}
	}
	path := fileLike(t, "/bin/true")
	p, err := openProgram(path)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	os.Remove(path)
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := p.check(); err == nil || !strings.Contains(err.Error(), "is being replaced") {
		t.Errorf("another file has its name: %v", err)
	}
}

// A copy in memory runs whatever becomes of the file.
func TestProgramInMemory(t *testing.T) {
	path := fileLike(t, "/bin/true")
	p, err := openProgram(path)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command(p.open()).Run(); !errors.Is(err, syscall.EACCES) {
		t.Fatalf("it can be executed: %v", err)
	}
	copied, err := p.inMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if err := exec.Command(copied.open()).Run(); err != nil || copied.Path != path || copied.id != p.id {
		t.Errorf("%v, %+v", err, copied)
	}
}

// standing is a holder that has had a server of this program.
func standing(t *testing.T) (*holder, *bytes.Buffer) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close(); write.Close() })
	var log bytes.Buffer
	h := &holder{
		Config: Config{Name: "test", Args: []string{"-no-such-flag"}, Point: "/m", Stdout: io.Discard, Stderr: io.Discard},
		theirs: read, log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	if h.good, err = ownProgram(); err != nil {
		t.Fatal(err)
	}
	return h, &log
}

// The program on disk is run, unless it cannot be: then the last one that answered.
func TestLastGoodProgramIsRunAgain(t *testing.T) {
	h, log := standing(t)
	good := h.good
	for name, c := range map[string]struct {
		path string
		said string
	}{
		"missing":   {filepath.Join(t.TempDir(), "gone"), "the program that ran before is run again"},
		"no binary": {fileLike(t, os.DevNull), "exec format error"},
	} {
		onDisk(t, c.path)
		log.Reset()
		s, err := h.start(legacy{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		<-s.exited
		if s.program != good || !strings.Contains(log.String(), c.said) {
			t.Errorf("%s: %s runs, %s", name, s.program.Path, log)
		}
	}
	// One that ends at once is not tried twice.
	onDisk(t, fileLike(t, "/bin/false"))
	s, err := h.start(legacy{})
	if err != nil || s.program == good {
		t.Fatalf("%v, %+v", err, s)
	}
	h.stillbirth(s, <-s.exited)
	again, err := h.start(legacy{})
	if err != nil || again.program != good || !strings.Contains(log.String(), `because="exit status 1"`) {
		t.Errorf("%v, %s", err, log)
	}
	<-again.exited
	// And one that answers is the next good one.
	onDisk(t, fileLike(t, "/bin/true"))
	s, err = h.start(legacy{})
	if err != nil {
		t.Fatal(err)
	}
	<-s.exited
	if h.begun(s); h.good != s.program || !s.answers {
		t.Error("it is not remembered")
	}
}

// Who is killed before it answers has not shown that its program is unfit.
func TestKilledIsNotUnfit(t *testing.T) {
	h, _ := standing(t)
	onDisk(t, fileLike(t, "/bin/cat"))
	for _, c := range []struct {
		signal  os.Signal
		overdue bool
		unfit   bool
	}{{os.Kill, false, false}, {syscall.SIGTERM, false, false}, {os.Kill, true, true}, {syscall.SIGSEGV, false, true}} {
		cmd := exec.Command("/bin/cat")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmd.Process.Signal(c.signal)
		cause := cmd.Wait()
		in.Close()
		p, err := TrustedProgram()
		if err != nil {
			t.Fatal(err)
		}
		h.bad = fileID{}
		h.stillbirth(&server{program: p, overdue: c.overdue}, cause)
		if got := h.bad == p.id; got != c.unfit {
			t.Errorf("%v, overdue %t: unfit is %t (%v)", c.signal, c.overdue, got, cause)
		}
	}
	h.stillbirth(&server{program: h.good}, errKilled)
	if h.bad == h.good.id {
		t.Error("the last good program is unfit")
	}
}

// A rehearsal is passed by who says so, and by nobody else.
func TestRehearsal(t *testing.T) {
	files := numbered(t, 3)
	for program, want := range map[string]string{
		"/bin/true":   "cannot serve this mount: it says nothing",
		"/bin/false":  "cannot serve this mount: exit status 1",
		os.DevNull:    "cannot be run: exec format error",
		"/bin/printf": "cannot serve this mount: ", // it complains of its arguments
	} {
		p, err := openProgram(fileLike(t, program))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Rehearse(lifelineOf(files), "/", Inheritance{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", program, err)
		}
		p.Close()
	}
	for said, want := range map[string]string{
		"kmsfs: warning: w\nkmsfs: open log_file: no\nhint: h\n": "open log_file: no",
		"panic: \x1b[31mred\nmore\n":                             `panic: \x1b[31mred`,
		"":                                                       "", "\n\n": "",
	} {
		if got := reasonIn(said); got != want {
			t.Errorf("%q: %q", said, got)
		}
	}
}
