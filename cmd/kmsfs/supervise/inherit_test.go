package supervise

import (
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/session"
)

// pipeEnd is the descriptor of a new pipe, for somebody else to own.
func pipeEnd(t *testing.T) int {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], 0); err != nil {
		t.Fatal(err)
	}
	unix.Close(fds[1])
	return fds[0]
}

func inTheEnvironment(t *testing.T, env []string) {
	t.Helper()
	for _, name := range []string{lifelineEnv, directoryEnv} {
		t.Setenv(name, "")
		for _, v := range env {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				t.Setenv(name, value)
			}
		}
	}
}

// What one process passes on, the next one finds, and the programs that it
// starts do not.
func TestPassedOnIsInherited(t *testing.T) {
	dir := t.TempDir()
	t.Chdir("/")
	numbers := map[string]int{holderName: pipeEnd(t)}
	for _, name := range []string{session.DeviceName, session.JournalName, session.SourceName} {
		numbers[name] = pipeEnd(t)
	}
	inTheEnvironment(t, Inheritance{Background: true, Service: true}.passOn(numbers, dir))
	in, err := Inherit()
	if err != nil || in.Line == nil || in.holder == nil || in.Give != nil || !in.Background || !in.Service {
		t.Fatalf("%+v, %v", in, err)
	}
	defer in.Line.Close()
	for name, f := range map[string]*os.File{holderName: in.holder, session.DeviceName: in.Line.Device, session.JournalName: in.Line.Journal, session.SourceName: in.Line.Source} {
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		if err != nil || int(f.Fd()) != numbers[name] || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s: descriptor %d with the flags %#x, %v", name, f.Fd(), flags, err)
		}
	}
	if at, _ := os.Getwd(); at != dir {
		t.Errorf("in %s", at)
	}
	if os.Getenv(lifelineEnv)+os.Getenv(directoryEnv) != "" {
		t.Error("it is passed on twice")
	}
	in.holder.Close()
}

// One that is not complete is none.
func TestHalfAnInheritance(t *testing.T) {
	numbers := map[string]int{session.DeviceName: pipeEnd(t), session.JournalName: pipeEnd(t)} // the device of a mount that nobody serves
	inTheEnvironment(t, Inheritance{}.passOn(numbers, ""))
	in, err := Inherit()
	if err != nil || in.Line != nil || in.Device == nil || int(in.Device.Fd()) != numbers[session.DeviceName] {
		t.Errorf("%+v, %v", in, err)
	}
	in.Device.Close()
	for _, closed := range []string{session.DeviceName + "=-1", session.DeviceName + "=x", "other=2"} {
		inTheEnvironment(t, []string{lifelineEnv + "=" + closed + ",background"})
		if in, err := Inherit(); err == nil { // it would mount what has just been unmounted
			t.Errorf("%s: %+v", closed, in)
		}
	}
	inTheEnvironment(t, []string{lifelineEnv + "=service", directoryEnv + "=/nowhere"})
	if _, err := Inherit(); err == nil || err.Error() != `take over: "/nowhere": no such file or directory` {
		t.Error(err)
	}
}

// The holder gets descriptors of the same files.
func TestLifelineIsGiven(t *testing.T) {
	give, take, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer take.Close()
	var files [3]*os.File
	for i := range files {
		if files[i], err = os.Create(t.TempDir() + "/file"); err != nil {
			t.Fatal(err)
		}
		defer files[i].Close()
	}
	if err := GiveLifeline(give, &session.Lifeline{Device: files[0], Journal: files[1], Source: files[2]}); err != nil {
		t.Fatal(err)
	}
	line, err := takeLifeline(take)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	for i, f := range []*os.File{line.Device, line.Journal, line.Source} {
		a, _ := files[i].Stat()
		b, err := f.Stat()
		if err != nil || !os.SameFile(a, b) {
			t.Errorf("the file %d is another one (%v)", i, err)
		}
	}
	if _, err := takeLifeline(take); err == nil {
		t.Error("it was given twice")
	}
}

// A server that gives nothing, or too little, is not followed.
func TestNothingIsGiven(t *testing.T) {
	for name, rights := range map[string][]byte{"nothing": nil, "one": unix.UnixRights(0)} {
		give, take, err := socketPair()
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Sendmsg(int(give.Fd()), []byte{'!'}, rights, nil, unix.MSG_NOSIGNAL); err != nil {
			t.Fatal(err)
		}
		if _, err := takeLifeline(take); err == nil || !strings.Contains(err.Error(), "gave no descriptors") && err != io.EOF {
			t.Errorf("%s: %v", name, err)
		}
		give.Close()
		take.Close()
	}
}
