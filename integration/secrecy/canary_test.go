package secrecy_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// The tests named TestCanary… serve plaintexts that occur nowhere else and then
// look for them where a plaintext must not be. Every search has to find the
// canary of an unprotected process first.

// canary is a plaintext that occurs nowhere else.
type canary struct {
	word []byte // random; the plaintext repeats it
	text string
}

const canaryRepeats = 23 // 1.5 KB: a private key

func newCanary() canary {
	random := make([]byte, 32)
	rand.Read(random)
	word := hex.EncodeToString(random)
	return canary{[]byte(word), strings.Repeat(word+"\n", canaryRepeats)}
}

// patterns are the word as it is and, whatever precedes it, in base64.
func (c canary) patterns() [][]byte {
	all := [][]byte{c.word}
	for skip := range 3 {
		whole := (len(c.word) - skip) / 3 * 3
		all = append(all, []byte(base64.StdEncoding.EncodeToString(c.word[skip:skip+whole])))
	}
	return all
}

// sighting is a copy of a canary, or a part of one.
type sighting struct {
	where string // a path, or a mapping
	arena bool   // in memory: where plaintext belongs
	at    uint64
	words int    // how much of it
	regs  bool   // registers that the kernel saved for a signal's handler
	lead  string // what stands before it
}

func (s sighting) String() string {
	return fmt.Sprintf("%s at %#x: %d words after %q", s.where, s.at, s.words, s.lead)
}

// search looks through size bytes from an offset for canaries. Words next to
// each other are one copy. What cannot be read is an error.
func search(r io.ReaderAt, from, size uint64, canaries ...canary) ([]sighting, error) {
	const (
		piece   = 1 << 20
		overlap = 256
		leading = 40
	)
	var patterns [][]byte
	for _, c := range canaries {
		patterns = append(patterns, c.patterns()...)
	}
	var found []sighting
	last := uint64(0) // word
	buf := make([]byte, overlap+piece)
	for done := uint64(0); done < size; done += piece {
		n := int(min(piece, size-done))
		if m, err := r.ReadAt(buf[overlap:overlap+n], int64(from+done)); m < n {
			return found, fmt.Errorf("%#x: %d of %d bytes: %w", from+done, m, n, err)
		}
		for _, p := range patterns {
			for i := 0; ; i++ {
				j := bytes.Index(buf[i:overlap+n], p)
				if j < 0 {
					break
				}
				i += j
				if i+len(p) <= overlap {
					continue // seen with the piece before
				}
				at := from + done + uint64(i) - overlap
				if k := len(found) - 1; k >= 0 && at >= last && at-last < 2*uint64(len(p)) {
					found[k].words++
					last = at
					continue
				}
				last = at
				found = append(found, sighting{at: at, words: 1, regs: saved(r, at), lead: string(buf[max(0, i-leading):i])})
			}
		}
		copy(buf[:overlap], buf[n:overlap+n])
	}
	return found, nil
}

// saved says that an address is in the frame of a signal: the kernel saves the
// vector registers there, with this word at their end, and what copies or
// decrypts has up to 256 bytes in them. The stack of a thread's handler keeps
// them until its next signal.
func saved(r io.ReaderAt, at uint64) bool {
	const registers, magic = 512, "SXPF"
	after := make([]byte, registers)
	n, _ := r.ReadAt(after, int64(at))
	return bytes.Contains(after[:n], []byte(magic))
}

// copies leaves out registers.
func copies(found []sighting) (all []sighting) {
	for _, s := range found {
		if !s.regs || s.words > 4 {
			all = append(all, s)
		}
	}
	return all
}

// inFile looks for canaries in a file, a device or an image.
func inFile(t testing.TB, path string, canaries ...canary) []sighting {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	found, err := search(f, 0, uint64(size), canaries...)
	if err != nil {
		t.Fatalf("search %s: %v", path, err)
	}
	for i := range found {
		found[i].where = filepath.Base(path)
	}
	return found
}

// inTree looks for canaries in all regular files below a directory on one
// file system.
func inTree(t testing.TB, dir string, canaries ...canary) (found []sighting) {
	t.Helper()
	var top unix.Stat_t
	if err := unix.Lstat(dir, &top); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		switch {
		case errors.Is(err, unix.ENOTCONN):
			return filepath.SkipDir // a mount whose process has crashed
		case err != nil:
			return err
		case e.IsDir() && st.Dev != top.Dev:
			return filepath.SkipDir
		case e.Type().IsRegular():
			found = append(found, inFile(t, path, canaries...)...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// holdChild protects nothing: it has what it reads from its standard input on its
// heap, until it is killed.
var holdChild = harness.NewChild("hold", func(string) {
	held, _ = io.ReadAll(os.Stdin)
	fmt.Println("holding")
	for {
		unix.Pause()
	}
})

var held []byte

// hold starts the unprotected process, the control of every search. prefix is
// the command that runs it, if any.
func hold(t testing.TB, c canary, prefix ...string) (pid int, cmd *exec.Cmd) {
	t.Helper()
	argv := append(prefix, holdChild.Command("").Path)
	cmd = exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), holdChild.Env(""), "GOTRACEBACK=crash")
	cmd.Stdin = strings.NewReader(c.text)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "holding\n" {
		t.Fatalf("the control says %q, %v", line, err)
	}
	return cmd.Process.Pid, cmd
}

// within is a lab whose kmsfs runs under another command.
func within(t testing.TB, l *lab.Lab, prefix ...string) *lab.Lab {
	t.Helper()
	other := *l
	other.Bin = t.TempDir()
	script := "#!/bin/sh\nexec " + strings.Join(prefix, " ") + " " + filepath.Join(l.Bin, "kmsfs") + ` "$@"` + "\n"
	// Renamed into place: a descriptor open for writing could be in a child.
	harness.Put(t, filepath.Join(other.Bin, "kmsfs"), script)
	if err := os.Chmod(filepath.Join(other.Bin, "kmsfs"), 0o700); err != nil {
		t.Fatal(err)
	}
	return &other
}

// undo has a shell script run when the test ends, however it ends: the shell
// waits for this process to close a pipe, or to die. It returns what runs the
// script at once.
func undo(t testing.TB, script string, args ...string) func() {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", "read -r _\n" + script, "sh"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // not hit by a Ctrl-C
	pipe, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	now := func() {
		if cmd.ProcessState != nil {
			return
		}
		pipe.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("undo %q %q: %v", script, args, err)
		}
	}
	t.Cleanup(now)
	return now
}

// cannot ends a test that this machine does not allow. In CI that is a
// failure, and elsewhere a loud skip.
func cannot(t testing.TB, what string, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s: %v", what, err)
	}
	t.Skipf("SKIPPED, NOT TESTED: %s: %v", what, err)
}
