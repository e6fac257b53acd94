package harness

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// touchChild maps a file, closes it, and reads the first byte whenever it is told
// to. A fault may wait for as long as the key service does, or end in SIGBUS:
// neither is for the process of the tests.
var touchChild = NewChild("touch", func(arg string) {
	how, path, _ := strings.Cut(arg, " ")
	debug.SetPanicOnFault(true)
	page, err := mapFirstPage(path, map[string]int{"shared": unix.MAP_SHARED, "private": unix.MAP_PRIVATE}[how])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("mapped")
	for told := bufio.NewReader(os.Stdin); ; {
		if _, err := told.ReadString('\n'); err != nil {
			return
		}
		fmt.Println(firstByte(page))
	}
})

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
	tell  io.Writer
	heard chan string
}

// MapFile starts a toucher; how is shared or private.
func MapFile(t testing.TB, how, path string) *Toucher {
	t.Helper()
	tell, said := touchChild.talk(t, how+" "+path)
	p := &Toucher{t, tell, make(chan string, 1)}
	go func() {
		defer close(p.heard)
		for s := bufio.NewScanner(said); s.Scan(); {
			p.heard <- s.Text()
		}
	}()
	if s := p.Hear(); s != "mapped" {
		t.Fatalf("map %s: %s", how, s)
	}
	return p
}

// Hear is what came of a touch: the first byte, or SIGBUS.
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

// Begin makes it touch the mapping, and does not wait for what comes of that.
func (p *Toucher) Begin() {
	p.t.Helper()
	if _, err := io.WriteString(p.tell, "\n"); err != nil {
		p.t.Fatal(err)
	}
}

// Touch is the first byte of the mapping, or SIGBUS.
func (p *Toucher) Touch() string {
	p.t.Helper()
	p.Begin()
	return p.Hear()
}
