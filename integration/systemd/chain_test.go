package systemd_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// systemd reads files of the mount itself, and waits as everybody does. Whatever
// happens to the processes of the service at that moment, and whoever would have
// to be started by systemd, it does not wait for long: systemd is no part of what
// brings the mount back.

// chainPatience is how long anything may wait.
const chainPatience = 10 * time.Second

func TestSystemdThatReadsTheMountNeverHangs(t *testing.T) {
	h := harness.BootKmsfs(t)
	h.Put(t, "/srv/certs/app.env.cipher", harness.Seal(t, h.Lab, "PW=hunter2\n"))
	h.Serve(t, "certs", "/srv/certs", "/run/certs", "ttl=1s")
	h.Unit(t, "environment.service", "[Service]\nType=oneshot\nEnvironmentFile=/run/certs/app.env\nExecStart=/bin/sh -c 'test \"$PW\" = hunter2'\n")
	h.Unit(t, "condition.service", "[Unit]\nConditionPathExists=/run/certs/app.env\n[Service]\nType=oneshot\nExecStart=/bin/true\n")
	h.Unit(t, "watched.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
	h.Unit(t, "watched.path", "[Path]\nPathExists=/run/certs/app.env\nUnit=watched.service\n")
	h.Must(t, "systemctl", "start", "environment", "condition")

	main := func() string { return h.State(t, storing, "MainPID") }
	cgroup := "/sys/fs/cgroup" + h.State(t, storing, "ControlGroup")
	for _, way := range []struct{ name, does string }{
		{"the main process is killed", "kill -9 MAIN"},
		{"the server is killed", "kill -9 SERVER"},
		{"both are killed", "kill -9 MAIN SERVER"},
		{"everything is killed", "systemctl kill --kill-who=all --signal=KILL " + storing},
		{"the cgroup is killed", "echo 1 >" + cgroup + "/cgroup.kill"},
		{"it is restarted", "systemctl restart --no-block " + storing},
		{"it is restarted twice", "systemctl restart --no-block " + storing + "; systemctl restart --no-block " + storing},
		{"it is stopped", "systemctl stop --no-block " + storing},
		{"it is reloaded", "systemctl reload --no-block " + storing},
		{"it is reloaded and the server killed", "systemctl reload --no-block " + storing + "; kill -9 SERVER"},
	} {
		t.Run(way.name, func(t *testing.T) {
			for _, unit := range []string{"environment.service", "condition.service", "watched.path"} {
				h.Run("systemctl", "reset-failed")
				h.Start(t, storing)
				h.Run("systemctl", "stop", "watched.path", "watched.service")
				pid := main()
				server := strings.Fields(h.Must(t, "cat", "/proc/"+pid+"/task/"+pid+"/children") + " " + h.Must(t, "sh", "-c", "cat /proc/"+pid+"/task/*/children"))[0]
				does := strings.NewReplacer("MAIN", pid, "SERVER", server).Replace(way.does)
				// In one breath, so that systemd reads while nobody answers.
				h.Run("sh", "-c", fmt.Sprintf("%s; systemctl start --no-block %[2]s; systemctl restart --no-block %[2]s", does, unit))
				answers(t, h, way.name+", "+unit)
			}
		})
		if t.Failed() {
			t.Logf("journal:\n%s", harness.WithoutOpens(h.Journal(t, storing)))
			t.FailNow()
		}
	}
	h.Run("systemctl", "stop", "watched.path")
	h.Start(t, storing)
	h.Must(t, "systemctl", "restart", "environment")
}

// answers asks systemd, and then the mount, until both have answered; the mount
// may also be gone.
func answers(t *testing.T, h *harness.Host, when string) {
	t.Helper()
	begun := time.Now()
	for _, ask := range [][]string{
		{"systemctl", "show", "--property=Version"},
		{"systemctl", "daemon-reload"}, // after what is under way
		{"stat", "/run/certs/app.env"},
	} {
		ctx, cancel := context.WithDeadline(t.Context(), begun.Add(chainPatience))
		cmd := h.Command(ask...)
		asked := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
		asked.Env = cmd.Env
		out, err := asked.CombinedOutput()
		if ctx.Err() != nil {
			t.Errorf("%s: %q has not answered within %v (%v %s)", when, ask, chainPatience, err, out)
		}
		cancel()
	}
	t.Logf("%s: %v", when, time.Since(begun))
}

// Where the key service is slow systemd gets an error before its machine notices,
// and the admin hears once of what systemd reads, and for which unit.
func TestSystemdWaitsASecondAtMost(t *testing.T) {
	h := harness.BootKmsfs(t)
	for _, name := range []string{"app.env", "other.env"} {
		h.Put(t, "/srv/certs/"+name+".cipher", harness.Seal(t, h.Lab, "PW=hunter2\n"))
		h.Unit(t, strings.Replace(name, ".env", ".service", 1), "[Service]\nType=oneshot\nEnvironmentFile=-/run/certs/"+name+"\nExecStart=/bin/true\n")
	}
	for _, mode := range []string{"open=checked", "open=fast"} {
		t.Run(mode, func(t *testing.T) {
			h.Serve(t, "certs", "/srv/certs", "/run/certs", mode)
			harness.Fault(t, h.Lab, map[string]any{"action": "Decrypt", "delay": "5s"})
			for _, unit := range []string{"app", "other"} {
				begun := time.Now()
				h.Run("systemctl", "start", unit)
				if took := time.Since(begun); took < time.Second || took > 3*time.Second {
					t.Errorf("systemd waited %v", took)
				}
			}
			harness.Mend(t, h.Lab)
			var log string
			h.Until(t, storing, "warned", func() bool {
				log = h.Must(t, "journalctl", "--no-pager", "_PID="+harness.Itoa(pidThere(t, h)))
				return strings.Contains(log, "systemd itself reads")
			})
			if n := strings.Count(log, "systemd itself reads"); n != 1 || !strings.Contains(log, `systemd itself reads \"app.env\" (app.service), `) {
				t.Errorf("%d warnings:\n%s", n, log)
			}
			if !strings.Contains(log, "110=connection timed out") {
				t.Errorf("no record:\n%s", log)
			}
			h.Must(t, "systemctl", "stop", storing)
		})
	}
}

// pidThere is the server's number on the host.
func pidThere(t *testing.T, h *harness.Host) (pid int) {
	t.Helper()
	if _, err := fmt.Sscan(server(h), &pid); err != nil {
		t.Fatal(err)
	}
	return pid
}
