package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// patience bounds one call.
const patience = 20 * time.Second

// process is an adapter that runs as a program.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// start runs an adapter in a directory.
func start(t Target, dir string, argv ...string) (Client, error) {
	p := &process{cmd: exec.Command(argv[0], argv[1:]...)}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = dir, t.env(), &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	p.stdout = bufio.NewReader(stdout)
	return p, p.cmd.Start()
}

func (p *process) Call(action string, params map[string]string) (Answer, error) {
	line, err := json.Marshal(map[string]any{"action": action, "params": params})
	if err != nil {
		return nil, err
	}
	late := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		return nil, p.died(err)
	}
	answer, err := p.stdout.ReadBytes('\n')
	if err != nil {
		return nil, p.died(err)
	}
	var got struct {
		Answer  Answer
		Refusal *Refusal
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return nil, fmt.Errorf("read the adapter's answer %q: %w", answer, err)
	}
	if got.Refusal != nil {
		return nil, got.Refusal
	}
	return got.Answer, nil
}

func (p *process) died(err error) error {
	p.cmd.Process.Kill()
	p.cmd.Wait()
	return fmt.Errorf("the adapter ended: %w\n%s", err, &p.stderr)
}

// Close ends the adapter: at the end of its input it exits.
func (p *process) Close() error {
	if p.cmd.ProcessState != nil {
		return nil
	}
	p.stdin.Close()
	late := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	rest, _ := io.ReadAll(p.stdout)
	if err := p.cmd.Wait(); err != nil || len(rest) > 0 || p.stderr.Len() > 0 {
		return fmt.Errorf("end the adapter: %v, said %q, %q", err, rest, strings.TrimSpace(p.stderr.String()))
	}
	return nil
}
