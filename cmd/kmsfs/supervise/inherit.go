package supervise

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/session"
)

// A process that takes over a mount is told so in its environment: by the
// holder that started it, by its own predecessor that became it, or by
// systemd that kept the descriptors. Each name is followed by the number of an
// open descriptor.
const (
	lifelineEnv = "KMSFS_LIFELINE"
	// directoryEnv is where the command line was written: paths in it may be
	// relative, and the process in the background is at the root.
	directoryEnv = "KMSFS_DIRECTORY"
)

// Inheritance is what a process has from those before it.
type Inheritance struct {
	Line       *session.Lifeline // nil: nothing is mounted yet
	holder     *os.File          // a pipe whose other end the holder has; nil without one
	Give       *os.File          // a socket on which the holder waits for the lifeline
	Background bool
	Stored     bool // systemd keeps the lifeline, or will
}

// Alone tells that nobody starts a successor if this process is killed.
func (in Inheritance) Alone() bool { return in.holder == nil && !in.Stored }

// names of the descriptors, beside those of the lifeline.
const (
	holderName = "holder"
	giveName   = "give"
)

// Inherit finds what was left to this process, and keeps it from the programs
// that it may start.
func Inherit() (Inheritance, error) {
	numbers := map[string]int{}
	var in Inheritance
	if list := os.Getenv(lifelineEnv); list != "" {
		for item := range strings.SplitSeq(list, ",") {
			name, number, _ := strings.Cut(item, "=")
			fd, err := strconv.Atoi(number)
			switch {
			case name == "background":
				in.Background = true
			case name == "stored":
				in.Stored = true
			case err == nil && fd > 2:
				numbers[name] = fd
			}
		}
		if dir := os.Getenv(directoryEnv); dir != "" {
			if err := os.Chdir(dir); err != nil {
				return in, ui.Failf("take over: %w", ui.PlainPath(err))
			}
		}
	} else if os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
		names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
		for i := range min(n, len(names)) {
			if slices.Contains(storedNames, names[i]) { // others are not ours
				numbers[names[i]] = 3 + i
				in.Stored = true
			}
		}
	}
	for _, name := range []string{lifelineEnv, directoryEnv, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
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
	in.holder, in.Give = file(holderName), file(giveName)
	// One that is not complete is none. Its device may be the mountpoint, as
	// systemd passes it to the first process of a service.
	for _, name := range storedNames {
		if _, ok := numbers[name]; !ok {
			return in, nil
		}
	}
	in.Line = &session.Lifeline{Device: file(session.DeviceName), Journal: file(session.JournalName), Source: file(session.SourceName)}
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
	if in.Stored {
		list = append(list, "stored")
	}
	return append(os.Environ(), lifelineEnv+"="+strings.Join(list, ","), directoryEnv+"="+directory)
}

// WatchHolder says when the holder has died: from then on, nobody starts a
// successor if this process is killed.
func (in Inheritance) WatchHolder(log *slog.Logger) {
	if in.holder == nil {
		return
	}
	if n, err := in.holder.Read(make([]byte, 1)); n == 0 && err == io.EOF {
		log.Warn("the process that starts a successor has died; if this one is killed as well, the mount ends")
	}
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
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, ui.Failf("start in the background: the server gave no descriptors")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 3 {
		return nil, ui.Failf("start in the background: the server gave no descriptors")
	}
	file := func(i int, name string) *os.File { return os.NewFile(uintptr(fds[i]), name) }
	return &session.Lifeline{Device: file(0, session.DeviceName), Journal: file(1, session.JournalName), Source: file(2, session.SourceName)}, nil
}
