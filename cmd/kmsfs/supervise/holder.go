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
// In a service the holder is the main process (service.go), and systemd has no
// part in it: it may wait for the mount itself.
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
	// beginPatience is how long a server may take to answer where readers wait
	// for it. It needs a tenth of a second, and no network.
	beginPatience = 5 * time.Second
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
	OpenLog func() (log *slog.Logger, file *os.File, end func(), err error)
}

// holder is one mount's.
type holder struct {
	Config
	service bool // the end of the holder is not that of its server
	line    *session.Lifeline
	alive   *os.File // the end of a pipe that tells servers that we are there
	theirs  *os.File
	log     *slog.Logger
	logFile *os.File // for a server that cannot open it
	good    *Program // the last one that has answered
	bad     fileID   // one that has not, although that was tried

	spawn    func() (*server, error) // a successor
	ended    func() bool             // the connection is no more
	detached func() bool             // no path leads to the mount

	hung      chan struct{} // somebody waits in vain for the server
	deaths    []time.Time
	stillborn int
}

// server is a process that the holder has started.
type server struct {
	process
	program *Program
	pid     int
	line    atomic.Pointer[session.Lifeline] // nil: not known yet
	late    <-chan time.Time                 // when it should have answered
	ready   chan bool                        // true when it answers, false when it ended before
	answers bool                             // or has done so
	overdue bool                             // killed because it did not
	exited  chan error
	stderr  bytes.Buffer
}

// Hold starts a server, and another one after each that dies. It returns when
// the mount has ended.
func Hold(c Config, ready *Readiness) error {
	h, signals, err := newHolder(c)
	if err != nil {
		return err
	}
	first, err := h.begin(nil, signals)
	if err != nil {
		return err
	}
	defer h.line.Close()
	defer h.openLog()()
	if !ready.Report() {
		first.Signal(syscall.SIGTERM) // kmsfs mount was killed meanwhile
	}
	debug.FreeOSMemory()
	return h.succeed(first, signals)
}

// openLog opens the log of the mount. Without one, what is logged is what servers
// say: a mount does not end for want of it.
func (h *holder) openLog() (end func()) {
	log, file, end, err := h.OpenLog()
	if err != nil {
		h.log = slog.New(slog.DiscardHandler)
		return func() {}
	}
	h.log, h.logFile = log, file
	return end
}

func newHolder(c Config) (h *holder, signals chan os.Signal, err error) {
	signals = make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	h = &holder{Config: c, hung: make(chan struct{})}
	h.spawn = func() (*server, error) { return h.start(legacy{}) }
	h.ended = func() bool { return !h.line.Alive() }
	h.detached = func() bool {
		m, ok, err := mount.At(h.Point)
		return err == nil && (!ok || m.Type != mount.Type)
	}
	if h.theirs, h.alive, err = os.Pipe(); err != nil {
		return nil, nil, ui.Failf("stand by: %w", err)
	}
	if h.good, err = ownProgram(); err != nil {
		return nil, nil, ui.Failf("stand by: %w", err)
	}
	return h, signals, nil
}

// begin starts the first server, which mounts unless it is given the device of a
// mount, and waits until that answers and has given us its lifeline.
func (h *holder) begin(device *os.File, signals <-chan os.Signal) (*server, error) {
	give, take, err := socketPair()
	if err != nil {
		return nil, ui.Failf("stand by: %w", err)
	}
	defer take.Close()
	first, err := h.start(legacy{give: give, device: device})
	give.Close()
	if err == nil {
		err = h.wait(first, signals)
	}
	if err == nil {
		h.line, err = takeLifeline(take)
		first.line.Store(h.line)
	}
	return first, err
}

// wait waits until the first server answers.
func (h *holder) wait(s *server, signals <-chan os.Signal) error {
	for {
		select {
		case sig := <-signals:
			if h.service && sig != syscall.SIGHUP {
				return errLeft
			}
			s.Signal(sig)
		case <-s.late:
			s.overrun()
		case ok := <-s.ready:
			if ok {
				h.begun(s)
				return nil
			}
			err := <-s.exited
			h.stillbirth(s, err)
			if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
				return ui.ExitError(exit.ExitCode()) // it has said why
			}
			return ui.Failf("mount: the server died before it was ready (%v)", err)
		}
	}
}

// begun notes that a server answers. Its program can be run again, also when it
// is gone from the disk.
func (h *holder) begun(s *server) {
	s.answers, s.late = true, nil
	h.stillborn = 0
	if s.program != h.good {
		h.good.Close()
		h.good = s.program
	}
}

// overrun ends a server that does not begin to answer.
func (s *server) overrun() {
	s.late, s.overdue = nil, true
	s.Signal(os.Kill)
}

// succeed starts a server after each that dies, until the mount has ended.
func (h *holder) succeed(s *server, signals <-chan os.Signal) error {
	for {
		select {
		case sig := <-signals:
			if h.service && sig != syscall.SIGHUP {
				return errLeft
			}
			s.Signal(sig)
			continue
		case <-s.late:
			s.overrun()
			continue
		case <-h.hung:
			h.log.Error("the mount does not answer; its server is killed", "mountpoint", h.Point, "pid", s.pid)
			s.Signal(os.Kill)
			continue
		case answers := <-s.ready:
			if answers {
				h.begun(s)
			}
			s.ready = nil
			continue
		case err := <-s.exited:
			if err == nil && s.answers || h.ended() {
				return err
			}
			if h.detached() {
				h.log.Warn("the mount was detached and ends with its server; its readers get an error now", "mountpoint", h.Point)
				return nil
			}
			if !s.answers {
				h.stillbirth(s, err)
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
	h.log.Warn(fmt.Sprintf("server died (%v), successor took over", cause),
		"mountpoint", h.Point, "died", dead.pid, "pid", next.pid, "said", said)
	return next, nil
}
