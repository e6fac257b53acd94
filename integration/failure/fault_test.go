package failure_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// faultEnv turns the test binary into a reader through a mapping: it says so
// when it has mapped the file, and reads when it is told.
const faultEnv = "KMSFS_TEST_FAULT"

func init() {
	path := os.Getenv(faultEnv)
	if path == "" {
		return
	}
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err == nil {
		var b []byte
		if b, err = unix.Mmap(fd, 0, 1, unix.PROT_READ, unix.MAP_PRIVATE); err == nil {
			fmt.Println("mapped")
			bufio.NewReader(os.Stdin).ReadString('\n')
			fmt.Printf("%c\n", b[0]) // SIGBUS if it cannot be had
			os.Exit(0)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

// pageReader is a process that has mapped a file.
type pageReader struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func mapForLater(t *testing.T, path string) *pageReader {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &pageReader{cmd: exec.Command(self)}
	p.cmd.Env = []string{faultEnv + "=" + path, "GOTRACEBACK=none"}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.in.Close()
		p.cmd.Wait()
	})
	if line, err := p.out.ReadString('\n'); err != nil || line != "mapped\n" {
		t.Fatalf("map %s: %q, %v", path, line, err)
	}
	return p
}

// touch reads the first byte.
func (p *pageReader) touch(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		t.Fatal(err)
	}
}

// While page faults in many files wait for a service that hangs, a page fault
// in one that needs no call does not.
func TestHangingFaultsBlockNobodyElse(t *testing.T) {
	harness.EachModeAtOnce(t, testHangingFaults)
}

func testHangingFaults(t *testing.T, mode string) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "timeout=30s", mode)
	const blocked = 64
	flush := []string{"flush", m.Point}
	var hanging []*pageReader
	// One ciphertext under two names: the page of one is in no page cache,
	// and the plaintext is there for both.
	blob := harness.Seal(t, l, "cached")
	harness.Put(t, m.InSource("cached.cipher"), blob)
	harness.Put(t, m.InSource("twin.cipher"), blob)
	twin := mapForLater(t, m.Path("twin"))
	for i := range blocked {
		name := "f" + harness.Itoa(i)
		harness.Put(t, m.InSource(name+".cipher"), harness.Seal(t, l, "file "+harness.Itoa(i)))
		hanging = append(hanging, mapForLater(t, m.Path(name)))
		flush = append(flush, m.Path(name))
	}
	waiting := requests(t, m)
	if _, err := l.Kmsfs(nil, flush...); err != nil {
		t.Fatal(err)
	}
	if got := harness.Read(t, m.Path("cached")); got != "cached" {
		t.Fatalf("reads %q", got)
	}
	if err := l.Fault(map[string]any{"action": "Decrypt", "hang": true}); err != nil {
		t.Fatal(err)
	}
	for _, p := range hanging {
		p.touch(t)
	}
	waiting(blocked)
	twin.touch(t)
	got := make(chan string, 1)
	go func() { line, _ := twin.out.ReadString('\n'); got <- line }()
	select {
	case line := <-got:
		if line != "c\n" {
			t.Errorf("the cached file's mapping reads %q", line)
		}
	case <-time.After(2 * time.Second):
		t.Error("a page fault in a cached file waits for the service")
	}
	if err := l.ClearFaults(); err != nil {
		t.Fatal(err)
	}
	for i, p := range hanging {
		if line, err := p.out.ReadString('\n'); err != nil || line != "f\n" {
			t.Errorf("mapping %d reads %q, %v", i, line, err)
		}
	}
}
