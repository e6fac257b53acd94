package supervise

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/session"
)

// A process that takes over a mount is told so in its environment: by the
// holder that started it, or by its own predecessor that became it. Each name
// is followed by the number of an open descriptor.
const (
	lifelineEnv = "KMSFS_LIFELINE"
	// rehearsalEnv stands in its place where nothing is to be taken over. A
	// program that does not know it must not take it for that.
	rehearsalEnv = "KMSFS_REHEARSAL"
	// directoryEnv is where the command line was written: paths in it may be
	// relative, and the process in the background is at the root.
	directoryEnv = "KMSFS_DIRECTORY"
	// programEnv is where the program lies on disk, or did when it was started.
	programEnv = "KMSFS_PROGRAM"
)

// Inheritance is what a process has from those before it.
type Inheritance struct {
	Line       *session.Lifeline // nil: nobody serves yet
	Device     *os.File          // of a mount that nobody serves yet, if somebody else has made it
	holder     *os.File          // a pipe whose other end the holder has; nil without one
	leash      *os.File          // of a server that answers until we are ready
	Give       *os.File          // a socket on which the holder waits for the lifeline
	Log        *os.File          // which the process before us has written to
	program    string            // the path of the one that we run
	Background bool
	Rehearsal  bool // nothing is served; it is to be seen whether it could be
	Service    bool // of systemd, whose next holder takes over from this server
}

// Alone tells that nobody has ever stood by to start a successor if this process
// is killed.
func (in Inheritance) Alone() bool { return in.holder == nil }

// names of the descriptors, besides those of the lifeline.
const (
	holderName = "holder"
	giveName   = "give"
	leashName  = "leash"
	logName    = "log"
)

// Inherit finds what was left to this process, and keeps it from the programs
// that it may start.
func Inherit() (Inheritance, error) {
	numbers := map[string]int{}
	var in Inheritance
	list := os.Getenv(lifelineEnv)
	if rehearsal := os.Getenv(rehearsalEnv); rehearsal != "" {
		list, in.Rehearsal = rehearsal, true
	}
	if list != "" {
		for item := range strings.SplitSeq(list, ",") {
			name, number, numbered := strings.Cut(item, "=")
			fd, err := strconv.Atoi(number)
			switch {
			case name == "background":
				in.Background = true
			case name == "service":
				in.Service = true
			case err == nil && fd > 2:
				numbers[name] = fd
			case numbered: // it was closed while it was passed on
				return in, ui.Failf("take over: %w", errMountEnded)
			}
		}
		if dir := os.Getenv(directoryEnv); dir != "" {
			if err := os.Chdir(dir); err != nil {
				return in, ui.Failf("take over: %w", ui.PlainPath(err))
			}
		}
	}
	if len(numbers) > 0 {
		programPath = os.Getenv(programEnv)
		setName()
	}
	for _, name := range []string{lifelineEnv, rehearsalEnv, directoryEnv, programEnv} {
		os.Unsetenv(name)
	}
	for _, fd := range numbers {
		unix.CloseOnExec(fd)
	}
	file := func(name string) *os.File {
		fd, ok := numbers[name]
		if !ok {
			return nil
		}
		return os.NewFile(uintptr(fd), name)
	}
	in.holder, in.Give, in.leash, in.Log = file(holderName), file(giveName), file(leashName), file(logName)
	line := &session.Lifeline{Device: file(session.DeviceName), Journal: file(session.JournalName), Source: file(session.SourceName)}
	if (line.Device != nil || in.Rehearsal) && line.Journal != nil && line.Source != nil {
		in.Line = line
	} else {
		in.Device = line.Device // one that is not complete is none
		line.Journal.Close()
		line.Source.Close()
	}
	return in, nil
}

// passOn is the environment in which the next process finds its inheritance,
// under these numbers.
func (in Inheritance) passOn(numbers map[string]int, directory string) []string {
	var list []string
	for name, fd := range numbers {
		list = append(list, fmt.Sprintf("%s=%d", name, fd))
	}
	if in.Background {
		list = append(list, "background")
	}
	if in.Service {
		list = append(list, "service")
	}
	return append(os.Environ(), lifelineEnv+"="+strings.Join(list, ","), directoryEnv+"="+directory, programEnv+"="+in.program)
}

// Orphaned is closed when the holder has died: from then on, nobody starts a
// successor if this process is killed. Without a holder it never is.
func (in Inheritance) Orphaned() <-chan struct{} {
	orphaned := make(chan struct{})
	if in.holder != nil {
		go func() {
			if n, err := in.holder.Read(make([]byte, 1)); n == 0 && err == io.EOF {
				close(orphaned)
			}
		}()
	}
	return orphaned
}

func socketPair() (ours, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(pair[0]), "to the holder"), os.NewFile(uintptr(pair[1]), "to the server"), nil
}

// GiveLifeline lets the holder have a copy of the lifeline.
func GiveLifeline(socket *os.File, line *session.Lifeline) error {
	defer socket.Close()
	rights := unix.UnixRights(int(line.Device.Fd()), int(line.Journal.Fd()), int(line.Source.Fd()))
	if err := unix.Sendmsg(int(socket.Fd()), []byte{'!'}, rights, nil, unix.MSG_NOSIGNAL); err != nil {
		return ui.Failf("start in the background: %w", err)
	}
	return nil
}

// takeLifeline receives it. The server has sent it before it said that it
// answers.
func takeLifeline(socket *os.File) (*session.Lifeline, error) {
	rights := make([]byte, unix.CmsgSpace(3*4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, ui.Failf("start in the background: %w", err)
	}
	files, err := filesIn(rights[:n])
	if err != nil || len(files) != 3 {
		return nil, ui.Failf("start in the background: the server gave no descriptors")
	}
	return lifelineOf(files), nil
}
