package integration_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// systemd keeps what a service's mount lives by, from one process to the next.

const storing = "kmsfs@certs.service"

// killed kills the service's process and waits for its successor.
func (h *host) killed(t *testing.T) {
	t.Helper()
	old := h.state(t, storing, "MainPID")
	h.run(t, "systemctl", "reset-failed", storing) // each counts as the first one
	h.run(t, "systemctl", "kill", "--kill-who=main", "--signal=KILL", storing)
	h.until(t, storing, "started anew", func() bool {
		return h.state(t, storing, "MainPID") != old && h.state(t, storing, "ActiveState") == "active"
	})
}

// startAfresh starts the service, whatever was before.
func (h *host) startAfresh(t *testing.T) {
	t.Helper()
	h.Run("systemctl", "reset-failed", storing) // systemd may have forgotten it
	h.start(t, storing)
}

// took counts the successors so far.
func (h *host) took(t *testing.T) int {
	t.Helper()
	return strings.Count(h.journal(t, storing), "successor took over")
}

func TestSystemdStore(t *testing.T) {
	h := bootKmsfs(t)
	want := map[string]string{}
	for i := range 6 {
		name := fmt.Sprintf("secret%d", i)
		text := lengthy(name, 1000+300*i)
		h.write(t, "/srv/certs/"+name+".cipher", seal(t, h.lab, text))
		want[h.Path("/run/certs/"+name)] = text
	}
	h.serve(t, "certs", "/srv/certs", "/run/certs", "ttl=2s", "qps=1000")
	mounted := h.run(t, "findmnt", "--noheadings", "--output=ID,MAJ:MIN,SOURCE", "/run/certs")
	old, err := os.Open(h.Path("/run/certs/secret3"))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	got := make([]byte, 5000)
	reads := func(what string) {
		t.Helper()
		if n, err := unix.Pread(int(old.Fd()), got, 0); err != nil || string(got[:max(0, n)]) != want[old.Name()] {
			t.Errorf("%s: the open descriptor reads %d bytes (%v)", what, n, err)
		}
		if now := h.run(t, "findmnt", "--noheadings", "--output=ID,MAJ:MIN,SOURCE", "/run/certs"); now != mounted {
			t.Errorf("%s: the mount was %s and is %s", what, mounted, now)
		}
	}

	for _, way := range []struct {
		name          string
		times, errors int
		do            func(*testing.T)
	}{
		{"Kill", 6, 1, h.killed},
		{"Restart", 2, 0, func(t *testing.T) {
			h.run(t, "systemctl", "reset-failed", storing)
			h.run(t, "systemctl", "restart", storing)
		}},
		{"Reload", 2, 0, func(t *testing.T) {
			pid, before := h.state(t, storing, "MainPID"), h.took(t)
			h.run(t, "systemctl", "reload", storing)
			h.until(t, storing, "handed over", func() bool { return h.took(t) > before && h.state(t, storing, "ActiveState") == "active" })
			if now := h.state(t, storing, "MainPID"); now != pid {
				t.Errorf("the process was %s and is %s", pid, now)
			}
		}},
		{"Kill and restart after a reload", 1, 1, func(t *testing.T) {
			h.killed(t)
			reads("Kill after a reload")
			h.run(t, "systemctl", "restart", storing)
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			w := startLoad(t, 4, want)
			for range way.times {
				before := h.took(t)
				way.do(t)
				if h.took(t) == before {
					t.Error("no successor took over")
				}
				reads(way.name)
			}
			if failed := w.report(t, way.name); failed > way.errors {
				t.Errorf("%d reads failed", failed)
			}
		})
		if t.Failed() {
			t.Logf("journal:\n%s", loud(h.journal(t, storing)))
			t.FailNow()
		}
	}

	// leftNothing is how a service should end.
	leftNothing := func(t *testing.T) {
		t.Helper()
		if what, err := h.Run("findmnt", "/run/certs"); err == nil {
			t.Errorf("still mounted: %s", what)
		}
		if n := h.state(t, storing, "NFileDescriptorStore"); n != "0" {
			t.Errorf("%s descriptors are stored", n)
		}
		if left := h.processes(t, storing); len(left) > 0 {
			t.Errorf("processes: %v", left)
		}
	}

	t.Run("Stop", func(t *testing.T) {
		h.run(t, "systemctl", "stop", storing)
		leftNothing(t)
		if _, err := unix.Pread(int(old.Fd()), got, 0); err == nil {
			t.Error("the open descriptor still reads")
		}
	})

	t.Run("Another source", func(t *testing.T) {
		h.write(t, "/srv/other/name.cipher", seal(t, h.lab, "the other secret"))
		h.startAfresh(t)
		h.write(t, "/etc/kmsfs/certs.env", strings.Replace(read(t, h.Path("/etc/kmsfs/certs.env")), "SRC=/srv/certs", "SRC=/srv/other", 1))
		h.run(t, "systemctl", "restart", storing)
		if got := h.run(t, "cat", "/run/certs/name"); got != "the other secret" {
			t.Errorf("reads %q", got)
		}
		h.run(t, "systemctl", "stop", storing)
		leftNothing(t)
		h.write(t, "/etc/kmsfs/certs.env", strings.Replace(read(t, h.Path("/etc/kmsfs/certs.env")), "SRC=/srv/other", "SRC=/srv/certs", 1))
	})

	t.Run("Unmounted", func(t *testing.T) {
		h.startAfresh(t)
		h.run(t, "kmsfs", "umount", "/run/certs")
		h.until(t, storing, "ended", func() bool { return h.state(t, storing, "ActiveState") == "inactive" })
		leftNothing(t)
	})

	t.Run("Successor that cannot begin", func(t *testing.T) {
		h.startAfresh(t)
		env := read(t, h.Path("/etc/kmsfs/certs.env"))
		h.write(t, "/etc/kmsfs/certs.env", strings.Replace(env, "ttl=2s", "ttl=never", 1))
		h.run(t, "systemctl", "kill", "--kill-who=main", "--signal=KILL", storing)
		h.until(t, storing, "failed", func() bool { return h.state(t, storing, "ActiveState") == "failed" })
		if out, err := h.Run("timeout", "10", "cat", "/run/certs/secret0"); err == nil || strings.Contains(err.Error(), "exit status 124") {
			t.Errorf("a reader gets %q (%v)", out, err)
		}
		h.write(t, "/etc/kmsfs/certs.env", env)
	})

	t.Run("Stopped between two processes", func(t *testing.T) {
		h.startAfresh(t)
		const late = "/etc/systemd/system/" + storing + ".d/late.conf"
		h.write(t, late, "[Service]\nRestartSec=1h\n")
		h.run(t, "systemctl", "daemon-reload")
		h.run(t, "systemctl", "kill", "--kill-who=main", "--signal=KILL", storing)
		h.until(t, storing, "waiting for its restart", func() bool { return h.state(t, storing, "SubState") == "auto-restart" })
		h.run(t, "systemctl", "stop", storing)
		if out, err := h.Run("timeout", "10", "cat", "/run/certs/secret0"); err == nil || strings.Contains(err.Error(), "exit status 124") {
			t.Errorf("a reader gets %q (%v)", out, err)
		}
		h.run(t, "rm", late)
		h.run(t, "systemctl", "daemon-reload")
		h.startAfresh(t)
		if n := len(h.run(t, "cat", "/run/certs/secret0")); n != 1000 {
			t.Errorf("afterwards it reads %d bytes", n)
		}
		h.run(t, "systemctl", "stop", storing)
		leftNothing(t)
	})

	t.Run("Killed too often", func(t *testing.T) {
		h.startAfresh(t)
		held, err := os.Open(h.Path("/run/certs/secret0"))
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		h.until(t, storing, "failed", func() bool {
			h.Run("systemctl", "kill", "--kill-who=main", "--signal=KILL", storing) // in between there is none
			return h.state(t, storing, "ActiveState") == "failed"
		})
		if out, err := h.Run("timeout", "10", "cat", "/run/certs/secret0"); err == nil || strings.Contains(err.Error(), "exit status 124") {
			t.Errorf("a reader gets %q (%v)", out, err)
		}
		if _, err := unix.Pread(int(held.Fd()), got, 0); err != unix.ENOTCONN && err != unix.ECONNABORTED {
			t.Errorf("an open descriptor gets %v", err)
		}
		h.startAfresh(t)
		if n := len(h.run(t, "cat", "/run/certs/secret0")); n != 1000 {
			t.Errorf("afterwards it reads %d bytes", n)
		}
		h.run(t, "systemctl", "stop", storing)
		leftNothing(t)
	})
}
