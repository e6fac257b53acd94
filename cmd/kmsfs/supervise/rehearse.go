package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/session"
)

// RehearsalPatience is how long a program may take to show that it could serve.
const RehearsalPatience = 5 * time.Second

// Rehearse starts a program as a successor would be, but for the device: it reads
// its options, opens its log, finds its credentials, looks into the journal, and
// ends. The error says what it could not do. So nothing is let go before there is
// somebody who can take it.
func (p *Program) Rehearse(line *session.Lifeline, directory string, in Inheritance) error {
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("try %s: %w", p.Path, err)
	}
	defer read.Close()
	cmd := exec.Command(p.open(), os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.ExtraFiles = []*os.File{write, line.Journal, line.Source}
	in.program = p.Path
	cmd.Env = in.passOn(map[string]int{session.JournalName: 4, session.SourceName: 5}, directory)
	for i, v := range cmd.Env {
		if list, ok := strings.CutPrefix(v, lifelineEnv+"="); ok {
			cmd.Env[i] = rehearsalEnv + "=" + list
		}
	}
	cmd.Env = append(cmd.Env, readyEnv+"="+strconv.Itoa(3))
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	runtime.LockOSThread() // whose end would be that of the child
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	write.Close()
	if err != nil {
		return fmt.Errorf("%s cannot be run: %w", p.Path, ui.Cause(err))
	}
	late := time.AfterFunc(RehearsalPatience, func() { cmd.Process.Kill() })
	n, _ := read.Read(make([]byte, 1))
	err = cmd.Wait()
	switch {
	case !late.Stop():
		return fmt.Errorf("%s does not begin to serve within %v", p.Path, RehearsalPatience)
	case n == 1 && err == nil:
		return nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = errors.New(exit.String())
	}
	if reason := reasonIn(said.String()); reason != "" {
		err = errors.New(reason)
	}
	if err == nil {
		err = errors.New("it says nothing")
	}
	return fmt.Errorf("%s cannot serve this mount: %w", p.Path, err)
}

// reasonIn is what a program of ours has ended with, in what it has said.
func reasonIn(said string) string {
	for line := range strings.Lines(said) {
		reason, ours := strings.CutPrefix(ui.OneLine(strings.TrimSpace(line)), "kmsfs: ")
		if ours && !strings.HasPrefix(reason, "warning: ") {
			return reason
		}
	}
	first, _, _ := strings.Cut(strings.TrimSpace(said), "\n")
	return ui.OneLine(first)
}
