package churn_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/kmsfs/kmsfs/integration/harness"
)

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
