package supervise

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/session"
)

// legacy is what one server gets from another, besides the lifeline that the
// holder has.
type legacy struct {
	give   *os.File // where it gives us its lifeline
	device *os.File // of a mount that is there already
	leash  *os.File // of the server before it, if that still answers
}

// start starts a server.
func (h *holder) start(l legacy) (*server, error) {
	program := h.program()
	s, err := h.run(program, l)
	if err != nil && program != h.good {
		h.unfit(program, err.Error())
		s, err = h.run(h.good, l)
	}
	if errors.Is(err, syscall.EACCES) { // the last one that answered is not to be executed any more
		if copied, cerr := h.good.inMemory(); cerr == nil {
			h.good.Close()
			h.good = copied
			s, err = h.run(h.good, l)
		}
	}
	return s, err
}

// program is the one to run: as it lies on disk, if nobody else could have put
// it there and it is not known to be unfit; else the last one that answered.
func (h *holder) program() *Program {
	p, err := TrustedProgram()
	switch {
	case err != nil:
		if h.log != nil {
			h.log.Warn(err.Error()+"; the program that ran before is run again", "mountpoint", h.Point)
		}
		return h.good
	case p.id == h.bad, p.id == h.good.id:
		p.Close()
		return h.good
	}
	return p
}

// stillbirth is the end of a server that has never answered. Unless somebody has
// killed it, its program is to blame.
func (h *holder) stillbirth(s *server, cause error) {
	switch {
	case s.program == h.good:
	case !s.overdue && (killed(cause) || errors.Is(cause, errUnending)):
		s.program.Close()
	case cause == nil:
		h.unfit(s.program, "it ends")
	default:
		h.unfit(s.program, cause.Error())
	}
}

// killed tells whether a process has ended by a signal that others send.
func killed(cause error) bool {
	exit, ok := errors.AsType[*exec.ExitError](cause)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && (status.Signal() == syscall.SIGKILL || status.Signal() == syscall.SIGTERM)
}

// unfit remembers that a program cannot serve.
func (h *holder) unfit(p *Program, why string) {
	h.bad = p.id
	p.Close()
	if h.log != nil {
		h.log.Warn("the program on disk cannot take over; the one that ran before is run again",
			"mountpoint", h.Point, "program", p.Path, "because", why)
	}
}

func (h *holder) run(program *Program, l legacy) (*server, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, ui.Failf("start the server: %w", err)
	}
	cmd := exec.Command(program.open(), h.Args...)
	cmd.Args[0] = h.Name
	numbers := map[string]int{}
	pass := func(name string, f *os.File) {
		if f != nil {
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
			numbers[name] = 2 + len(cmd.ExtraFiles) // behind the three that every process has
		}
	}
	pass(readyEnv, write)
	pass(holderName, h.theirs)
	pass(giveName, l.give)
	pass(session.DeviceName, l.device)
	pass(leashName, l.leash)
	pass(logName, h.logFile)
	s := &server{process: child{cmd}, program: program, ready: make(chan bool, 1), exited: make(chan error, 1)}
	if h.line != nil || h.service { // somebody may be waiting for it
		s.late = time.After(beginPatience)
	}
	cmd.Stderr = &s.stderr
	if l.give != nil || h.service {
		cmd.Stdout, cmd.Stderr = h.Stdout, h.Stderr
	}
	if h.line != nil {
		pass(session.DeviceName, h.line.Device)
		pass(session.JournalName, h.line.Journal)
		pass(session.SourceName, h.line.Source)
	}
	readiness := readyEnv + "=" + strconv.Itoa(numbers[readyEnv])
	delete(numbers, readyEnv)
	cmd.Env = append(Inheritance{program: program.Path, Background: !h.service, Service: h.service}.passOn(numbers, h.Directory), readiness)
	if h.service {
		// The watchdog is fed by the server, not by the main process.
		cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "WATCHDOG_PID=") })
	}
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
