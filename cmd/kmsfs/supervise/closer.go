package supervise

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/fs/session"
)

// CloserName is the command that a closer runs.
const CloserName = "closer"

// closerRest is how long after the end of a closer there is another one.
const closerRest = time.Second

// Closer is a process beside a server that has no holder. It does nothing until
// that server is killed while a thread of it tells the kernel something. Such a
// thread waits, as no signal can end, for a request that only this server would
// have answered; so neither the process nor the connection ends, and readers wait
// for ever. The closer answers them with an error until the thread is gone, and
// with the closer, the last to have the connection, that ends.
//
// INVARIANT: a closer that is not being stopped ends with its server: with the
// last thread of it ends the pipe between them.
type Closer struct {
	line  *session.Lifeline
	point string
	warn  func(string)

	mu    sync.Mutex
	pipe  *os.File // our end; nil: there shall be no closer
	ended chan struct{}
}

// NewCloser is that of a server, not started yet.
func NewCloser(line *session.Lifeline, point string, warn func(string)) *Closer {
	return &Closer{line: line, point: point, warn: warn}
}

// Start starts the process.
func (c *Closer) Start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pipe != nil {
		return
	}
	if err := c.start(); err != nil {
		c.warn("should this process be killed, its readers may wait for ever: " + err.Error())
	}
}

func (c *Closer) start() error {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the closer: %w", err)
	}
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe", CloserName, c.point)
	cmd.Args[0] = os.Args[0]
	cmd.Dir, cmd.Env = "/", []string{} // it needs no credentials
	cmd.ExtraFiles = []*os.File{c.line.Device, c.line.Journal, theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // what is meant for the group of its server is not for it
	if err := cmd.Start(); err != nil {
		ours.Close()
		return fmt.Errorf("start the closer: %w", ui.PlainPath(err))
	}
	ended := make(chan struct{})
	c.pipe, c.ended = ours, ended
	go func() {
		cmd.Wait()
		close(ended)
		c.mu.Lock()
		stays := c.pipe != ours
		if !stays {
			ours.Close()
			c.pipe = nil
		}
		c.mu.Unlock()
		if !stays {
			time.Sleep(closerRest)
			c.Start()
		}
	}()
	return nil
}

// Stop ends the process, and tells whether there was one. It is called when
// nothing is being told to the kernel, and nothing will be before the next Start.
func (c *Closer) Stop() (ran bool) {
	c.mu.Lock()
	pipe, ended := c.pipe, c.ended
	c.pipe = nil
	c.mu.Unlock()
	if pipe == nil {
		return false
	}
	pipe.Close()
	select {
	case <-ended:
	case <-time.After(time.Second):
	}
	return true
}

// Close is what a closer does. It returns when its server has ended.
func Close() error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	line := &session.Lifeline{Device: os.NewFile(3, "device"), Journal: os.NewFile(4, "journal")}
	pipe := os.NewFile(5, "pipe")
	if pipe == nil || line.Device == nil || !mount.IsDevice(int(line.Device.Fd())) {
		return ui.Failf("this is started by kmsfs mount")
	}
	over := make(chan struct{})
	go func() {
		pipe.Read(make([]byte, 1)) // nothing is ever written
		close(over)
	}()
	server := os.Getppid()
	go func() {
		// It may have been killed while we began.
		for pause := firstLook; !stranded(server); pause = min(2*pause, lastLook) {
			if line.AttendedBy() == server && line.AwaitUnattended() == nil {
				pause = firstLook
			}
			time.Sleep(pause)
		}
		line.Refuse()
	}()
	<-over
	return nil
}
