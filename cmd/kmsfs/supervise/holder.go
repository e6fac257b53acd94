// Package supervise is about the processes of one mount that follow each other.
//
// The process in the background is two. The holder starts the server, which
// mounts when it is ready to answer and does everything else; it gets from it
// what outlives a process, and starts another server when that one dies.
// Readers wait for that moment, and see nothing of it.
//
// The holder asks nobody for anything, reads no credentials and no plaintext,
// and nothing can connect to it. When it is killed itself, the server goes on,
// and can hand over to a new program; but with the server ends the mount.
//
// In a service systemd is the holder: what outlives a process lies in its store.
package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/fs/session"
)

const (
	// A server that dies this often, or before it has begun, is left dead:
	// something kills every one. Then the mount ends, with an error for its
	// readers.
	maxDeaths    = 30
	deathsWithin = 10 * time.Second
	maxStillborn = 5
)

// Config is how the processes of one mount follow each other.
type Config struct {
	Name      string   // argv[0]
	Args      []string // what follows it
	Directory string   // where the command line was written
	Point     string
	Stdout    io.Writer // of the first server
	Stderr    io.Writer
	// OpenLog opens the log of the mount in the background.
	OpenLog func() (log *slog.Logger, end func(), err error)
}

// holder is one mount's.
type holder struct {
	Config
	line   *session.Lifeline
	alive  *os.File // the end of a pipe that tells servers that we are there
	theirs *os.File
	log    *slog.Logger

	spawn    func() (*server, error) // a successor
	ended    func() bool             // the connection is no more
	detached func() bool             // no path leads to the mount

	deaths    []time.Time
	stillborn int
}

// server is a process that the holder has started.
type server struct {
	process
	pid    int
	line   atomic.Pointer[session.Lifeline] // nil: not known yet
	ready  chan bool                        // true when it answers, false when it ended before
	exited chan error
	stderr bytes.Buffer
}

// Hold starts a server, and another one after each that dies. It returns when
// the mount has ended.
func Hold(c Config, ready *Readiness) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	h := &holder{Config: c}
	h.spawn = func() (*server, error) { return h.start(nil) }
	h.ended = func() bool { return !h.line.Alive() }
	h.detached = func() bool {
		m, ok, err := mount.At(h.Point)
		return err == nil && (!ok || m.Type != mount.Type)
	}
	var err error
	if h.theirs, h.alive, err = os.Pipe(); err != nil {
		return ui.Failf("start in the background: %w", err)
	}
	give, take, err := socketPair()
	if err != nil {
		return ui.Failf("start in the background: %w", err)
	}
	defer take.Close()
	first, err := h.start(give)
	give.Close()
	if err == nil {
		err = h.wait(first, signals)
	}
	if err == nil {
		h.line, err = takeLifeline(take)
		first.line.Store(h.line)
	}
	if err != nil {
		return err
	}
	defer h.line.Close()
	if !ready.Report() {
		first.Signal(syscall.SIGTERM) // kmsfs mount was killed meanwhile
	}
	debug.FreeOSMemory()
	var closeLog func()
	if h.log, closeLog, err = c.OpenLog(); err != nil {
		return err
	}
	defer closeLog()
	return h.succeed(first, signals)
}

// wait waits until the first server answers.
func (h *holder) wait(s *server, signals <-chan os.Signal) error {
	for {
		select {
		case sig := <-signals:
			s.Signal(sig)
		case ok := <-s.ready:
			if ok {
				return nil
			}
			err := <-s.exited
			if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
				return ui.ExitError(exit.ExitCode()) // it has said why
			}
			return ui.Failf("mount: the server died before it was ready (%v)", err)
		}
	}
}

// succeed starts a server after each that dies, until the mount has ended.
func (h *holder) succeed(s *server, signals <-chan os.Signal) error {
	for {
		select {
		case sig := <-signals:
			s.Signal(sig)
			continue
		case answers := <-s.ready:
			if answers {
				h.stillborn = 0
			}
			s.ready = nil
			continue
		case err := <-s.exited:
			if err == nil || h.ended() {
				return err
			}
			if h.detached() {
				h.log.Warn("the mount was detached and ends with its server; its readers get an error now", "mountpoint", h.Point)
				return nil
			}
			next, serr := h.succession(s, err)
			if serr != nil {
				h.log.Error("the mount ends: "+serr.Error(), "mountpoint", h.Point)
				return serr
			}
			s = next
		}
	}
}

// succession starts the server after one that died of cause.
func (h *holder) succession(dead *server, cause error) (*server, error) {
	said := ""
	if !errors.Is(cause, errUnending) { // which may still write
		if line, _, _ := strings.Cut(dead.stderr.String(), "\n"); line != "" {
			said = ui.OneLine(line)
		}
	}
	h.deaths = append(h.deaths, time.Now())
	if n := len(h.deaths); n > maxDeaths {
		h.deaths = h.deaths[n-maxDeaths:]
	}
	if h.stillborn++; h.stillborn > maxStillborn {
		return nil, ui.Failf("%d servers in a row died before they answered; the last one: %v %s", maxStillborn, cause, said)
	}
	if len(h.deaths) == maxDeaths && time.Since(h.deaths[0]) < deathsWithin {
		return nil, ui.Failf("%d servers died within %v; the last one: %v %s", maxDeaths, deathsWithin, cause, said)
	}
	if h.stillborn > 1 {
		time.Sleep(time.Duration(h.stillborn) * 100 * time.Millisecond)
	}
	next, err := h.spawn()
	if err != nil {
		return nil, err
	}
	h.log.Warn(fmt.Sprintf("server died (%v), successor took over", cause), "mountpoint", h.Point, "died", dead.pid, "pid", next.pid, "said", said)
	return next, nil
}

// start starts a server: the program as it lies on disk, if that is safe, else
// the one that we are. The first one gives us the lifeline through a socket.
func (h *holder) start(give *os.File) (*server, error) {
	path, err := TrustedProgram()
	if err != nil {
		path = "/proc/self/exe"
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, ui.Failf("start the server: %w", err)
	}
	cmd := exec.Command(path, h.Args...)
	cmd.Args[0] = h.Name
	pass := func(f *os.File) (number int) {
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		return 2 + len(cmd.ExtraFiles) // behind the three that every process has
	}
	readiness := pass(write)
	numbers := map[string]int{holderName: pass(h.theirs)}
	s := &server{process: child{cmd}, ready: make(chan bool, 1), exited: make(chan error, 1)}
	if give != nil {
		numbers[giveName] = pass(give)
		cmd.Stdout, cmd.Stderr = h.Stdout, h.Stderr
	} else {
		numbers[session.DeviceName], numbers[session.JournalName], numbers[session.SourceName] = pass(h.line.Device), pass(h.line.Journal), pass(h.line.Source)
		cmd.Stderr = &s.stderr
	}
	cmd.Env = append(Inheritance{Background: true}.passOn(numbers, h.Directory), readyEnv+"="+strconv.Itoa(readiness))
	err = cmd.Start()
	write.Close()
	if err != nil {
		read.Close()
		return nil, ui.Failf("start the server: %w", err)
	}
	s.pid = cmd.Process.Pid
	s.line.Store(h.line)
	ready := s.ready
	heard := make(chan struct{})
	go func() {
		n, _ := read.Read(make([]byte, 1))
		read.Close()
		ready <- n == 1
		close(heard)
	}()
	go func() {
		err := s.reap()
		if err != errUnending { // which keeps its end of the pipe
			<-heard
		}
		s.exited <- err
	}()
	return s, nil
}
