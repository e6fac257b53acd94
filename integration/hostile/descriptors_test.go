package hostile_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// hoardChild opens files until it has as many descriptors as it is told, says what
// it got, and keeps them until its standard input ends.
var hoardChild = harness.NewChild("hoard", func(arg string) {
	var files, want int
	pattern, counts, _ := strings.Cut(arg, ":")
	fmt.Sscan(counts, &files, &want)
	var errno syscall.Errno
	opened, refused := 0, 0
	for opened+refused < want {
		path := fmt.Sprintf(pattern, (opened+refused)%files)
		switch _, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err {
		case nil:
			opened++
		case unix.EINTR: // a signal of the runtime's
		default:
			refused++
			errors.As(err, &errno)
		}
	}
	fmt.Println(opened, refused, int(errno))
	io.Copy(io.Discard, os.Stdin)
})

// hoard starts a process of another user that opens files of a mount and holds
// them until the test ends.
func hoard(t *testing.T, program, pattern string, files, want int) (opened, refused int, why syscall.Errno) {
	t.Helper()
	cmd := hoardChild.Command(fmt.Sprintf("%s:%d %d", pattern, files, want))
	cmd.Path = program
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(line, &opened, &refused, &why); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return opened, refused, why
}

// Twenty thousand descriptors in the hands of one user cost the process no
// descriptor of its own and little memory, and stop nobody's open.
func TestHoardedDescriptorsStopNobody(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	const files, each, processes = 1000, 5000, 4
	source := harness.SealMany(t, l, files, "hoarded")
	harness.Put(t, source+"/root.cipher", harness.Seal(t, l, "of root"))
	m := harness.Mount(t, l, source, "allow_other,file_mode=0444,dir_mode=0555,qps=1000,timeout=30s")
	harness.LetOthersPass(t, m.Point)
	program := harness.OtherUsersProgram(t)
	before, memory := len(m.Descriptors(t)), resident(t, m)
	held := 0
	for range processes {
		opened, refused, why := hoard(t, program, m.Path("f%05d"), files, each)
		if refused > 0 {
			t.Errorf("%d opens were refused: %v", refused, why)
		}
		held += opened
	}
	if got := harness.Read(t, m.Path("root")); got != "of root" {
		t.Errorf("root reads %q", got)
	}
	after, grown := len(m.Descriptors(t)), resident(t, m)
	t.Logf("%d descriptors held: resident %d KiB, before %d KiB", held, grown, memory)
	if after > before+50 {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if grown > memory+64<<10 {
		t.Errorf("resident %d KiB, before %d KiB", grown, memory)
	}
}

// Files that are shown as they are take a descriptor of the process each. One
// user's cannot use up what there are.
func TestHoardedPlainFilesStopNobody(t *testing.T) {
	l := harness.NewLab(t)
	const limit = 512
	source := t.TempDir()
	for i := range 2 * limit {
		harness.Put(t, fmt.Sprintf("%s/p%05d", source, i), "plain")
	}
	harness.Put(t, source+"/root.cipher", harness.Seal(t, l, "of root"))
	m := harness.Mount(t, l, source, "allow_other,file_mode=0444,dir_mode=0555,plain=show")
	harness.LetOthersPass(t, m.Point)
	if err := unix.Prlimit(m.PID, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
		t.Fatal(err)
	}
	program := harness.OtherUsersProgram(t)
	opened, refused, why := hoard(t, program, m.Path("p%05d"), 2*limit, 2*limit)
	if opened < limit/4 || refused == 0 || why != syscall.EMFILE {
		t.Errorf("%d opened, %d refused: %v", opened, refused, why)
	}
	for i := range 20 {
		if got := harness.Read(t, m.Path("root")); got != "of root" {
			t.Errorf("root reads %q", got)
		}
		if got := harness.Read(t, m.Path(fmt.Sprintf("p%05d", i))); got != "plain" {
			t.Errorf("root reads %q", got)
		}
	}
	// The same file again needs no descriptor more.
	if opened, refused, why := hoard(t, program, m.Path("p%05d"), 1, 2*limit); refused > 0 {
		t.Errorf("%d opened, %d refused: %v", opened, refused, why)
	}
	m.WaitLog(t, "level=WARN", "msg=open", "uid=65534", "path=p", `result="24=`)
}

// resident is how much memory the process takes, in KiB.
func resident(t *testing.T, m *harness.Mounted) int {
	t.Helper()
	for line := range strings.Lines(harness.Read(t, "/proc/"+strconv.Itoa(m.PID)+"/status")) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
