package churn_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// direct is a mount whose processes this test has started.
type direct struct {
	churnPlace
	lab        *lab.Lab
	background bool
	options    string
	logFile    string
	first      *exec.Cmd     // in the foreground, the process
	ended      chan struct{} // closed when it has
}

func (d *direct) attach() error {
	if d.background {
		return patiently(d.lab.Command("mount", "-o", d.options+",log_file="+d.logFile, d.source, d.point))
	}
	log, err := os.OpenFile(d.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	before, err := log.Seek(0, 2)
	if err != nil {
		return err
	}
	d.first = d.lab.Command("mount", "--foreground", "-o", d.options, d.source, d.point)
	d.first.Stderr = log
	d.first.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.first.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	d.ended = ended
	go func(cmd *exec.Cmd) { cmd.Wait(); close(ended) }(d.first)
	return withinTime(harness.Patience, "the mount answers", func() bool {
		b, _ := os.ReadFile(d.logFile)
		return bytes.Contains(b[min(int(before), len(b)):], []byte("msg=mounted"))
	})
}

func (d *direct) command(args ...string) *exec.Cmd {
	if args[0] == "kmsfs" {
		return d.lab.Command(args[1:]...)
	}
	return exec.Command(args[0], args[1:]...)
}

func (d *direct) table() (string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	return string(b), err
}

// processes are those with our mountpoint in their command line; a command that
// is under way is none of them.
func (d *direct) processes() (pids []int) {
	for _, p := range harness.ProcessesNaming(d.point) {
		f := strings.Fields(p)
		if pid, _ := strconv.Atoi(f[0]); len(f) > 2 && (f[2] == "mount" || f[2] == "closer") {
			pids = append(pids, pid)
		}
	}
	if d.first != nil {
		select {
		case <-d.ended:
		default: // one that has ended but for a thread has no command line
			if !slices.Contains(pids, d.first.Process.Pid) {
				pids = append(pids, d.first.Process.Pid)
			}
		}
	}
	return pids
}

// server is the process that answers.
func (d *direct) server() (int, error) {
	if !d.background {
		return d.first.Process.Pid, nil
	}
	return childIn(d.processes())
}

// childIn is the process whose parent is another one of them: the server of a
// holder.
func childIn(all []int) (int, error) {
	for _, pid := range all {
		if slices.Contains(all, parentOf(pid)) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("there is no server among %v", all)
}

func (d *direct) actions() []churnAction {
	signal := func(s syscall.Signal) func() error {
		return func() error {
			pid, err := d.server()
			if err != nil {
				return err
			}
			return syscall.Kill(pid, s)
		}
	}
	reload := func() error { return patiently(d.command("kmsfs", "reload", d.point)) }
	hup := func() error {
		before := d.started()
		if err := signal(syscall.SIGHUP)(); err != nil {
			return err
		}
		return withinTime(churnEnd, "another program serves", func() bool {
			now := d.started()
			return now != "" && now != before
		})
	}
	unmount := unmounting(d, d.point)
	between := func() error { // somewhere on the way to the other program
		if err := signal(syscall.SIGHUP)(); err != nil {
			return err
		}
		rest(time.Duration(rand.IntN(200)) * time.Millisecond)
		return unmount[0].do()
	}
	all := append(unmount,
		churnAction{name: "SIGKILL", do: signal(syscall.SIGKILL), stays: d.background, dead: !d.background},
		churnAction{name: "SIGTERM", do: signal(syscall.SIGTERM)},
		churnAction{name: "SIGHUP", do: hup, stays: true},
		churnAction{name: "SIGHUP, umount", do: between},
		churnAction{name: "kmsfs reload", do: reload, stays: true})
	if d.background {
		all = append(all, churnAction{name: "SIGKILL, holder too", do: d.killBoth, dead: true})
	}
	return all
}

// killBoth kills the holder, and its server once that knows that it is alone.
func (d *direct) killBoth() error {
	server, err := d.server()
	if err != nil {
		return err
	}
	if err := syscall.Kill(parentOf(server), syscall.SIGKILL); err != nil {
		return err
	}
	if err := withinTime(churnEnd, "a closer is there instead of the holder", func() bool {
		return slices.ContainsFunc(harness.ProcessesNaming(d.point), func(p string) bool { return strings.Contains(p, " closer ") })
	}); err != nil {
		return err
	}
	return syscall.Kill(server, syscall.SIGKILL)
}

// started is since when the process that answers does, empty where none does.
func (d *direct) started() string {
	out, _ := d.command("kmsfs", "status", "--json", d.point).Output()
	var status struct{ Started string }
	json.Unmarshal(out, &status)
	return status.Started
}

func (d *direct) log() string { return tailOf(d.logFile) }
func (d *direct) discard()    { unix.Unmount(d.point, unix.MNT_DETACH) }
