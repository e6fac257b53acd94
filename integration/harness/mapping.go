package harness

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mapEnv turns the test binary into a process that maps a file, closes it, and
// reads the first byte whenever it is told to. A fault may wait for as long as
// the key service does, or end in SIGBUS: neither is for the process of the
// tests.
const mapEnv = "KMSFS_TEST_MAP"

func init() {
	how, path, ok := strings.Cut(os.Getenv(mapEnv), " ")
	if !ok {
		return
	}
	debug.SetPanicOnFault(true)
	page, err := mapFirstPage(path, map[string]int{"shared": unix.MAP_SHARED, "private": unix.MAP_PRIVATE}[how])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("mapped")
	for told := bufio.NewReader(os.Stdin); ; {
		if _, err := told.ReadString('\n'); err != nil {
			os.Exit(0)
		}
		fmt.Println(firstByte(page))
	}
}

func mapFirstPage(path string, flags int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ, flags)
}

func firstByte(page []byte) (seen string) {
	defer func() {
		if recover() != nil {
			seen = "SIGBUS"
		}
	}()
	return string(page[:1])
}

// Toucher is a process that has mapped a file, and has it open in no other way.
type Toucher struct {
	t     testing.TB
	Tell  io.Writer
	heard chan string
}

// MapFile starts a toucher; how is shared or private.
func MapFile(t testing.TB, how, path string) *Toucher {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), mapEnv+"="+how+" "+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	tell, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Toucher{t, tell, make(chan string, 1)}
	go func() {
		defer close(p.heard)
		for s := bufio.NewScanner(said); s.Scan(); {
			p.heard <- s.Text()
		}
	}()
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if s := p.Hear(); s != "mapped" {
		t.Fatalf("map %s: %s", how, s)
	}
	return p
}

// Hear is what the process says next.
func (p *Toucher) Hear() string {
	p.t.Helper()
	select {
	case s := <-p.heard:
		return s
	case <-time.After(Patience):
		p.t.Fatal("a mapping was touched, and nothing came of it")
	}
	return ""
}

// Touch is the first byte of the mapping, or SIGBUS.
func (p *Toucher) Touch() string {
	p.t.Helper()
	if _, err := io.WriteString(p.Tell, "\n"); err != nil {
		p.t.Fatal(err)
	}
	return p.Hear()
}
