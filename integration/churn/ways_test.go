package churn_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// churnWay is how a mount is run while it is churned: in the foreground, in the
// background, or as a service. None of it fails a test by itself, for several of
// them are under way at once.
type churnWay interface {
	attach() error               // mounts; the mount answers when it returns
	command(...string) *exec.Cmd // a program where the mount is
	table() (string, error)      // the mount table there
	processes() []int            // all that belong to the mount, in this machine's numbers
	actions() []churnAction      // what may happen to it
	log() string                 // what it has said
	discard()                    // removes what a failed round has left
}

// churnPlace is what every way has.
type churnPlace struct {
	source string // as this machine's processes see it
	seen   string // the mountpoint as they see it
	point  string // and as its own machine calls it
}

// churnAction is something that happens to a mount. Afterwards it is served
// again without further ado, or is gone.
type churnAction struct {
	name  string
	do    func() error
	stays bool
	dead  bool          // what is left is a mount that nobody has had the time to unmount
	limit time.Duration // of a reader's wait, where that is not churnLimit
}

// allowed are those errors that a reader may get of a mount that stays: of a
// version that was replaced in the source and has gone with its server, and of
// calls that take as long as the ttl, which is no answer (and after some of these
// the service counts as one that gives none).
func (a churnAction) allowed(w waits) int64 {
	n := w.errnos[unix.ESTALE] + w.errnos[unix.EFAULT] + w.errnos[unix.ETIMEDOUT] + w.errnos[unix.EIO]
	if a.limit > 0 { // this one loses its server, and with it the connection
		n = w.failed
	}
	return n
}

// errChurnBusy is what an umount says when it has changed nothing.
var errChurnBusy = errors.New("busy")

// patiently runs a command that must not hang.
func patiently(cmd *exec.Cmd) error {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(said.String()))
		}
		return err
	case <-time.After(2 * harness.Patience):
		at := whereabouts(cmd.Process.Pid)
		cmd.Process.Kill()
		return fmt.Errorf("%s hangs:\n%s", strings.Join(cmd.Args, " "), at)
	}
}

// unmounting are the ways to unmount that every way to run has. An umount says
// that the mount is in use when somebody reads at that moment: then there is
// another one.
func unmounting(w churnWay, point string) []churnAction {
	plain := func() error {
		for begun := time.Now(); ; {
			err := patiently(w.command("kmsfs", "umount", point))
			if err == nil || !strings.Contains(err.Error(), "busy") {
				return err
			}
			if time.Since(begun) > 2*time.Second {
				return errChurnBusy
			}
		}
	}
	lazy := func() error {
		return patiently(w.command("umount", "--no-canonicalize", "--internal-only", "--lazy", point))
	}
	return []churnAction{{name: "umount", do: plain}, {name: "umount --lazy", do: lazy}}
}

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

func (d *direct) discard() { unix.Unmount(d.point, unix.MNT_DETACH) }

// served is a mount of kmsfs@.service.
type served struct {
	churnPlace
	host *harness.Host
	unit string
}

func (s *served) attach() error {
	s.host.Run("systemctl", "reset-failed", s.unit)
	return patiently(s.command("systemctl", "start", s.unit))
}

func (s *served) command(args ...string) *exec.Cmd { return s.host.Command(args...) }

func (s *served) table() (string, error) {
	b, err := os.ReadFile(s.host.Path("/proc/1/mountinfo"))
	return string(b), err
}

func (s *served) processes() []int {
	all, _ := s.host.Processes(s.property("ControlGroup"))
	return all
}

// systemctl acts on the unit. systemd would stop at so many starts at a time.
func (s *served) systemctl(args ...string) func() error {
	return func() error {
		s.host.Run("systemctl", "reset-failed", s.unit)
		return patiently(s.command(append(append([]string{"systemctl"}, args...), s.unit)...))
	}
}

func (s *served) actions() []churnAction {
	return append(unmounting(s, s.point),
		churnAction{name: "SIGKILL", do: s.killServer, stays: true},
		churnAction{name: "SIGKILL, the holder", do: s.killing("--kill-who=main"), stays: true},
		churnAction{name: "SIGKILL, all", do: s.killing(), stays: true, limit: churnEnd},
		churnAction{name: "SIGTERM", do: s.systemctl("kill", "--kill-who=main", "--signal=TERM")},
		churnAction{name: "systemctl reload", do: s.systemctl("reload"), stays: true},
		churnAction{name: "systemctl restart", do: s.systemctl("restart"), stays: true},
		churnAction{name: "systemctl stop", do: s.systemctl("stop")},
		churnAction{name: "kmsfs reload", do: func() error { return patiently(s.command("kmsfs", "reload", s.point)) }, stays: true})
}

// killServer kills the process that answers; nobody tells systemd.
func (s *served) killServer() error {
	server, err := childIn(s.processes())
	if err != nil {
		return err
	}
	return syscall.Kill(server, syscall.SIGKILL)
}

// killing kills the process that stands by, while the server answers, or all
// there are, and waits for the next one: what else systemd is told before that
// would be meant for it.
func (s *served) killing(whom ...string) func() error {
	return func() error {
		main := s.property("MainPID")
		if err := s.systemctl(append(append([]string{"kill"}, whom...), "--signal=KILL")...)(); err != nil {
			return err
		}
		return withinTime(churnEnd, "the unit has another main process", func() bool {
			now := s.property("MainPID")
			return now != main && now != "0" && s.property("ActiveState") == "active"
		})
	}
}

func (s *served) property(name string) string {
	value, _ := s.host.Run("systemctl", "show", "--value", "--property="+name, s.unit)
	return strings.TrimSpace(value)
}

func (s *served) log() string {
	out, _ := s.host.Run("sh", "-c", "journalctl --sync; journalctl --no-pager --unit="+s.unit+" | grep -v 'msg=open.*result=ok' | tail -n 60; systemctl status --no-pager --full --lines=0 "+s.unit)
	return out
}

func (s *served) discard() {
	patiently(s.command("systemctl", "kill", "--signal=KILL", s.unit))
	s.command("umount", "--internal-only", "--lazy", s.point).Run()
	s.systemctl("stop")()
}

// withinTime waits for a condition.
func withinTime(limit time.Duration, what string, done func() bool) error {
	for begun := time.Now(); !done(); rest(10 * time.Millisecond) {
		if time.Since(begun) > limit {
			return fmt.Errorf("not within %v: %s", limit, what)
		}
	}
	return nil
}

func tailOf(path string) string {
	b, _ := os.ReadFile(path)
	log := harness.WithoutOpens(string(b))
	return log[max(0, len(log)-6000):]
}

func parentOf(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	if f := strings.Fields(after); len(f) > 1 {
		ppid, _ := strconv.Atoi(f[1])
		return ppid
	}
	return 0
}

// threadsOf are the threads of a process that are in a state, such as D.
func threadsOf(pid int, state string) (found []int) {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range stats {
		b, _ := os.ReadFile(path)
		if _, after, _ := strings.Cut(string(b), ") "); strings.HasPrefix(after, state) {
			tid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			found = append(found, tid)
		}
	}
	return found
}

// whereabouts tells where the threads of a process are in the kernel.
func whereabouts(pid int) string {
	var b strings.Builder
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		one := func(name string) string {
			text, _ := os.ReadFile(filepath.Join(task, name))
			return strings.TrimSpace(string(text))
		}
		_, after, _ := strings.Cut(one("stat"), ") ")
		if !strings.HasPrefix(after, "D") && !strings.HasPrefix(after, "Z") && !strings.Contains(one("stack"), "fuse") {
			continue // it waits for nothing of a file system's
		}
		fmt.Fprintf(&b, "  process %d (%s), thread %s, state %.1s, wchan %s, syscall %s\n", pid, one("comm"), filepath.Base(task), after, one("wchan"), one("syscall"))
		for line := range strings.Lines(one("stack")) {
			fmt.Fprintf(&b, "      %s\n", strings.TrimSpace(line))
		}
	}
	return b.String()
}
