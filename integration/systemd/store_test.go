package systemd_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// systemd keeps what a service's mount lives by, from one process to the next.

const storing = "kmsfs@certs.service"

// killed kills the service's process and waits for its successor.
func killed(t *testing.T, h *harness.Host) {
	t.Helper()
	old := h.State(t, storing, "MainPID")
	h.Must(t, "systemctl", "reset-failed", storing) // each counts as the first one
	h.Must(t, "systemctl", "kill", "--kill-who=main", "--signal=KILL", storing)
	h.Until(t, storing, "started anew", func() bool {
		return h.State(t, storing, "MainPID") != old && h.State(t, storing, "ActiveState") == "active"
	})
}

// startAfresh starts the service, whatever was before.
func startAfresh(t *testing.T, h *harness.Host) {
	t.Helper()
	h.Run("systemctl", "reset-failed", storing) // systemd may have forgotten it
	h.Start(t, storing)
}

// took counts the successors so far.
func took(t *testing.T, h *harness.Host) int {
	t.Helper()
	return strings.Count(h.Journal(t, storing), "successor took over")
}

func TestServiceKeepsItsMountThroughDeaths(t *testing.T) {
	h := harness.BootKmsfs(t)
	want := map[string]string{}
	for i := range 6 {
		name := fmt.Sprintf("secret%d", i)
		text := harness.Lengthy(name, 1000+300*i)
		h.Put(t, "/srv/certs/"+name+".cipher", harness.Seal(t, h.Lab, text))
		want[h.Path("/run/certs/"+name)] = text
	}
	h.Serve(t, "certs", "/srv/certs", "/run/certs", "ttl=2s", "qps=1000")
	mounted := h.Must(t, "findmnt", "--noheadings", "--output=ID,MAJ:MIN,SOURCE", "/run/certs")
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
		if now := h.Must(t, "findmnt", "--noheadings", "--output=ID,MAJ:MIN,SOURCE", "/run/certs"); now != mounted {
			t.Errorf("%s: the mount was %s and is %s", what, mounted, now)
		}
	}

	for _, way := range []struct {
		name          string
		times, errors int
		do            func(*testing.T)
	}{
		{"Kill", 6, 1, func(t *testing.T) { killed(t, h) }},
		{"Restart", 2, 0, func(t *testing.T) {
			h.Must(t, "systemctl", "reset-failed", storing)
			h.Must(t, "systemctl", "restart", storing)
		}},
		{"Reload", 2, 0, func(t *testing.T) {
			pid, before := h.State(t, storing, "MainPID"), took(t, h)
			h.Must(t, "systemctl", "reload", storing)
			h.Until(t, storing, "handed over", func() bool { return took(t, h) > before && h.State(t, storing, "ActiveState") == "active" })
			if now := h.State(t, storing, "MainPID"); now != pid {
				t.Errorf("the process was %s and is %s", pid, now)
			}
		}},
		{"Kill and restart after a reload", 1, 1, func(t *testing.T) {
			killed(t, h)
			reads("Kill after a reload")
			h.Must(t, "systemctl", "restart", storing)
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			w := harness.StartLoad(t, 4, want)
			for range way.times {
				before := took(t, h)
				way.do(t)
				if took(t, h) == before {
					t.Error("no successor took over")
				}
				reads(way.name)
			}
			if failed := w.Report(t, way.name); failed > way.errors {
				t.Errorf("%d reads failed", failed)
			}
		})
		if t.Failed() {
			t.Logf("journal:\n%s", harness.WithoutOpens(h.Journal(t, storing)))
			t.FailNow()
		}
	}

	// leftNothing is how a service should end.
	leftNothing := func(t *testing.T) {
		t.Helper()
		if what, err := h.Run("findmnt", "/run/certs"); err == nil {
			t.Errorf("still mounted: %s", what)
		}
		if n := h.State(t, storing, "NFileDescriptorStore"); n != "0" {
			t.Errorf("%s descriptors are stored", n)
		}
		if left := h.ProcessesOf(t, storing); len(left) > 0 {
			t.Errorf("processes: %v", left)
		}
	}

	t.Run("Stop", func(t *testing.T) {
		h.Must(t, "systemctl", "stop", storing)
		leftNothing(t)
		if _, err := unix.Pread(int(old.Fd()), got, 0); err == nil {
			t.Error("the open descriptor still reads")
		}
	})

	t.Run("Another source", func(t *testing.T) {
		h.Put(t, "/srv/other/name.cipher", harness.Seal(t, h.Lab, "the other secret"))
		startAfresh(t, h)
		h.Put(t, "/etc/kmsfs/certs.env", strings.Replace(harness.Read(t, h.Path("/etc/kmsfs/certs.env")), "SRC=/srv/certs", "SRC=/srv/other", 1))
		h.Must(t, "systemctl", "restart", storing)
		if got := h.Must(t, "cat", "/run/certs/name"); got != "the other secret" {
			t.Errorf("reads %q", got)
		}
		h.Must(t, "systemctl", "stop", storing)
		leftNothing(t)
		h.Put(t, "/etc/kmsfs/certs.env", strings.Replace(harness.Read(t, h.Path("/etc/kmsfs/certs.env")), "SRC=/srv/other", "SRC=/srv/certs", 1))
	})

	t.Run("Unmounted", func(t *testing.T) {
		startAfresh(t, h)
		h.Must(t, "kmsfs", "umount", "/run/certs")
		h.Until(t, storing, "ended", func() bool { return h.State(t, storing, "ActiveState") == "inactive" })
		leftNothing(t)
	})

	t.Run("Successor that cannot begin", func(t *testing.T) {
		startAfresh(t, h)
		env := harness.Read(t, h.Path("/etc/kmsfs/certs.env"))
		h.Put(t, "/etc/kmsfs/certs.env", strings.Replace(env, "ttl=2s", "ttl=never", 1))
		h.Must(t, "systemctl", "kill", "--kill-who=main", "--signal=KILL", storing)
		h.Until(t, storing, "failed", func() bool { return h.State(t, storing, "ActiveState") == "failed" })
		if out, err := h.Run("timeout", "10", "cat", "/run/certs/secret0"); err == nil || strings.Contains(err.Error(), "exit status 124") {
			t.Errorf("a reader gets %q (%v)", out, err)
		}
		h.Put(t, "/etc/kmsfs/certs.env", env)
	})

	t.Run("Stopped between two processes", func(t *testing.T) {
		startAfresh(t, h)
		const late = "/etc/systemd/system/" + storing + ".d/late.conf"
		h.Put(t, late, "[Service]\nRestartSec=1h\n")
		h.Must(t, "systemctl", "daemon-reload")
		h.Must(t, "systemctl", "kill", "--kill-who=main", "--signal=KILL", storing)
		h.Until(t, storing, "waiting for its restart", func() bool { return h.State(t, storing, "SubState") == "auto-restart" })
		h.Must(t, "systemctl", "stop", storing)
		if out, err := h.Run("timeout", "10", "cat", "/run/certs/secret0"); err == nil || strings.Contains(err.Error(), "exit status 124") {
			t.Errorf("a reader gets %q (%v)", out, err)
		}
		h.Must(t, "rm", late)
		h.Must(t, "systemctl", "daemon-reload")
		startAfresh(t, h)
		if n := len(h.Must(t, "cat", "/run/certs/secret0")); n != 1000 {
			t.Errorf("afterwards it reads %d bytes", n)
		}
		h.Must(t, "systemctl", "stop", storing)
		leftNothing(t)
	})

	t.Run("Killed too often", func(t *testing.T) {
		startAfresh(t, h)
		held, err := os.Open(h.Path("/run/certs/secret0"))
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		h.Until(t, storing, "failed", func() bool {
			h.Run("systemctl", "kill", "--kill-who=main", "--signal=KILL", storing) // in between there is none
			return h.State(t, storing, "ActiveState") == "failed"
		})
		if out, err := h.Run("timeout", "10", "cat", "/run/certs/secret0"); err == nil || strings.Contains(err.Error(), "exit status 124") {
			t.Errorf("a reader gets %q (%v)", out, err)
		}
		if _, err := unix.Pread(int(held.Fd()), got, 0); err != unix.ENOTCONN && err != unix.ECONNABORTED {
			t.Errorf("an open descriptor gets %v", err)
		}
		startAfresh(t, h)
		if n := len(h.Must(t, "cat", "/run/certs/secret0")); n != 1000 {
			t.Errorf("afterwards it reads %d bytes", n)
		}
		h.Must(t, "systemctl", "stop", storing)
		leftNothing(t)
	})
}
