package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/kmsfs/kmsfs/fs"
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

// inheritance is what a process has from those before it.
type inheritance struct {
	line       *fs.Lifeline // nil: nothing is mounted yet
	holder     *os.File     // a pipe whose other end the holder has; nil without one
	give       *os.File     // a socket on which the holder waits for the lifeline
	background bool
}

// names of the descriptors, also in systemd's store.
const (
	deviceName  = "kmsfs-device"
	journalName = "kmsfs-journal"
	sourceName  = "kmsfs-source"
	holderName  = "holder"
	giveName    = "give"
)

// inherit finds what was left to this process, and keeps it from the programs
// that it may start.
func inherit() (inheritance, error) {
	files := map[string]*os.File{}
	var in inheritance
	if list := os.Getenv(lifelineEnv); list != "" {
		for item := range strings.SplitSeq(list, ",") {
			name, number, _ := strings.Cut(item, "=")
			fd, err := strconv.Atoi(number)
			if name == "background" {
				in.background = true
			} else if err == nil && fd > 2 {
				files[name] = os.NewFile(uintptr(fd), name)
			}
		}
		if dir := os.Getenv(directoryEnv); dir != "" {
			if err := os.Chdir(dir); err != nil {
				return in, failf("take over: %w", plainPath(err))
			}
		}
	} else if os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
		names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
		for i := range min(n, len(names)) {
			if !slices.Contains([]string{deviceName, journalName, sourceName}, names[i]) {
				continue // not ours to close
			}
			if old := files[names[i]]; old != nil {
				old.Close() // stored twice: the later one counts
			}
			files[names[i]] = os.NewFile(uintptr(3+i), names[i])
		}
	}
	for _, name := range []string{lifelineEnv, directoryEnv, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	for name, f := range files {
		if f == nil {
			return in, failf("take over: descriptor %s is not open", quote(name))
		}
		unix.CloseOnExec(int(f.Fd()))
	}
	in.holder, in.give = files[holderName], files[giveName]
	line := &fs.Lifeline{Device: files[deviceName], Journal: files[journalName], Source: files[sourceName]}
	if line.Device != nil && line.Journal != nil && line.Source != nil {
		in.line = line
	}
	return in, nil
}

// passOn is the environment in which the next process finds its inheritance,
// under these numbers.
func (in inheritance) passOn(numbers map[string]int, directory string) []string {
	var list []string
	for name, fd := range numbers {
		list = append(list, fmt.Sprintf("%s=%d", name, fd))
	}
	if in.background {
		list = append(list, "background")
	}
	return append(os.Environ(), lifelineEnv+"="+strings.Join(list, ","), directoryEnv+"="+directory)
}

// watchHolder says when the holder has died: from then on, nobody starts a
// successor if this process is killed.
func (in inheritance) watchHolder(log *slog.Logger) {
	if in.holder == nil {
		return
	}
	if n, err := in.holder.Read(make([]byte, 1)); n == 0 && err == io.EOF {
		log.Warn("the process that starts a successor has died; if this one is killed as well, the mount ends")
	}
}

// terminal tells whether output goes to one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func socketPair() (ours, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(pair[0]), "to the holder"), os.NewFile(uintptr(pair[1]), "to the server"), nil
}

// giveTo lets the holder have a copy of the lifeline.
func giveTo(socket *os.File, line *fs.Lifeline) error {
	defer socket.Close()
	rights := unix.UnixRights(int(line.Device.Fd()), int(line.Journal.Fd()), int(line.Source.Fd()))
	if err := unix.Sendmsg(int(socket.Fd()), []byte{'!'}, rights, nil, unix.MSG_NOSIGNAL); err != nil {
		return failf("start in the background: %w", err)
	}
	return nil
}

// takeLifeline receives it. The server has sent it before it said that it
// answers.
func takeLifeline(socket *os.File) (*fs.Lifeline, error) {
	rights := make([]byte, unix.CmsgSpace(3*4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, failf("start in the background: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, failf("start in the background: the server gave no descriptors")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 3 {
		return nil, failf("start in the background: the server gave no descriptors")
	}
	file := func(i int, name string) *os.File { return os.NewFile(uintptr(fds[i]), name) }
	return &fs.Lifeline{Device: file(0, deviceName), Journal: file(1, journalName), Source: file(2, sourceName)}, nil
}
