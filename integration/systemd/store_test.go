package systemd_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/integration/harness"
)

// The mount of a service outlives each of its processes.

const storing = "kmsfs@certs.service"

// holderKilled kills the main process of the service and waits for the next one,
// whose server takes over.
func holderKilled(t *testing.T, h *harness.Host) {
	t.Helper()
	before := server(h)
	old := h.State(t, storing, "MainPID")
	h.Must(t, "systemctl", "reset-failed", storing) // each counts as the first one
	h.Must(t, "systemctl", "kill", "--kill-who=main", "--signal=KILL", storing)
	h.Until(t, storing, "started anew", func() bool {
		return h.State(t, storing, "MainPID") != old && h.State(t, storing, "ActiveState") == "active"
	})
	succeeds(t, h, before)
}

// serverOf is the process that answers, as this machine sees it.
func serverOf(t *testing.T, h *harness.Host) int {
	t.Helper()
	for _, pid := range h.ProcessesOf(t, storing) {
		if server := harness.ChildOf(pid); server != 0 {
			return server
		}
	}
	t.Fatalf("%s has no server", storing)
	return 0
}

// serverKilled kills the process that answers and waits for the next one, which
// the same main process starts.
func serverKilled(t *testing.T, h *harness.Host) {
	t.Helper()
	before, main := server(h), h.State(t, storing, "MainPID")
	if err := unix.Kill(serverOf(t, h), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	succeeds(t, h, before)
	if now := h.State(t, storing, "MainPID"); now != main {
		t.Errorf("the main process was %s and is %s", main, now)
	}
}

// startAfresh starts the service, whatever was before.
func startAfresh(t *testing.T, h *harness.Host) {
	t.Helper()
	h.Run("systemctl", "reset-failed", storing) // systemd may have forgotten it
	h.Start(t, storing)
}

// server names the process that answers, and when it began: a successor has
// another name.
func server(h *harness.Host) string {
	var s struct {
		PID     int
		Started string
	}
	out, err := h.Run("kmsfs", "status", "--json", "/run/certs")
	if err != nil || json.Unmarshal([]byte(out), &s) != nil {
		return "" // in between there is none
	}
	return fmt.Sprint(s.PID, " ", s.Started)
}

// succeeds waits for a server that is another one.
func succeeds(t *testing.T, h *harness.Host, old string) {
	t.Helper()
	h.Until(t, storing, "served by a successor", func() bool { now := server(h); return now != "" && now != old })
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
		{"Kill of the server", 6, 1, func(t *testing.T) { serverKilled(t, h) }},
		{"Kill of the main process", 3, 0, func(t *testing.T) { holderKilled(t, h) }},
		{"Restart", 2, 0, func(t *testing.T) {
			h.Must(t, "systemctl", "reset-failed", storing)
			h.Must(t, "systemctl", "restart", storing)
		}},
		{"Reload", 2, 0, func(t *testing.T) {
			pid := h.State(t, storing, "MainPID")
			h.Must(t, "systemctl", "reload", storing)
			if now := h.State(t, storing, "MainPID"); now != pid {
				t.Errorf("the process was %s and is %s", pid, now)
			}
		}},
		{"Kill and restart after a reload", 1, 1, func(t *testing.T) {
			serverKilled(t, h)
			reads("Kill after a reload")
			h.Must(t, "systemctl", "restart", storing)
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			w := harness.StartLoad(t, 4, want)
			for range way.times {
				before := server(h)
				way.do(t)
				succeeds(t, h, before)
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

	served := func(t *testing.T, when string) {
		t.Helper()
		if out, err := h.Run("timeout", "10", "cat", "/run/certs/secret0"); err != nil || len(out) != 1000 {
			t.Errorf("%s a reader gets %d bytes (%v)", when, len(out), err)
		}
	}

	// The server of the last start that worked serves on, until systemd is told
	// to try again.
	t.Run("Main process that cannot begin", func(t *testing.T) {
		startAfresh(t, h)
		env := harness.Read(t, h.Path("/etc/kmsfs/certs.env"))
		h.Put(t, "/etc/kmsfs/certs.env", strings.Replace(env, "ttl=2s", "ttl=never", 1))
		h.Must(t, "systemctl", "kill", "--kill-who=main", "--signal=KILL", storing)
		h.Until(t, storing, "failed", func() bool { return h.State(t, storing, "ActiveState") == "failed" })
		served(t, "without a main process")
		h.Put(t, "/etc/kmsfs/certs.env", env)
		before := server(h)
		startAfresh(t, h)
		succeeds(t, h, before)
		served(t, "after the next start")
	})

	t.Run("Killed too often", func(t *testing.T) {
		held, err := os.Open(h.Path("/run/certs/secret0"))
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		h.Until(t, storing, "failed", func() bool {
			h.Run("systemctl", "kill", "--kill-who=main", "--signal=KILL", storing) // in between there is none
			return h.State(t, storing, "ActiveState") == "failed"
		})
		served(t, "without a main process")
		startAfresh(t, h)
		served(t, "after the next start")
		if n, err := unix.Pread(int(held.Fd()), got, 0); n != 1000 || err != nil {
			t.Errorf("an open descriptor reads %d bytes (%v)", n, err)
		}
		h.Must(t, "systemctl", "stop", storing)
		leftNothing(t)
	})

	// With all processes dies the connection; the mount is made anew.
	t.Run("All killed", func(t *testing.T) {
		startAfresh(t, h)
		held, err := os.Open(h.Path("/run/certs/secret0"))
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		main := h.State(t, storing, "MainPID")
		h.Must(t, "systemctl", "kill", "--kill-who=all", "--signal=KILL", storing)
		h.Until(t, storing, "started anew", func() bool {
			return h.State(t, storing, "MainPID") != main && h.State(t, storing, "ActiveState") == "active"
		})
		if _, err := unix.Pread(int(held.Fd()), got, 0); err != unix.ENOTCONN && err != unix.ECONNABORTED {
			t.Errorf("a descriptor of the mount before gets %v", err)
		}
		served(t, "after that")
		h.Must(t, "systemctl", "stop", storing)
		leftNothing(t)
	})

	// Nobody tells a server without a main process that the service has been
	// stopped: it ends by itself.
	t.Run("Stopped between two main processes", func(t *testing.T) {
		startAfresh(t, h)
		const late = "/etc/systemd/system/" + storing + ".d/late.conf"
		h.Put(t, late, "[Service]\nRestartSec=1h\n")
		h.Must(t, "systemctl", "daemon-reload")
		h.Must(t, "systemctl", "kill", "--kill-who=main", "--signal=KILL", storing)
		h.Until(t, storing, "waiting for its restart", func() bool { return h.State(t, storing, "SubState") == "auto-restart" })
		h.Must(t, "systemctl", "stop", storing)
		served(t, "in the meantime")
		ends := time.Now().Add(supervise.OrphanPatience)
		h.Until(t, storing, "left to itself for some time", func() bool { return time.Until(ends) < harness.Patience/2 })
		h.Until(t, storing, "without processes", func() bool {
			_, err := h.Run("pgrep", "--runstates", "DRSTt", "kmsfs")
			return err != nil
		})
		if out, err := h.Run("timeout", "10", "cat", "/run/certs/secret0"); err == nil || strings.Contains(err.Error(), "exit status 124") {
			t.Errorf("a reader gets %q (%v)", out, err)
		}
		h.Must(t, "rm", late)
		h.Must(t, "systemctl", "daemon-reload")
		startAfresh(t, h)
		served(t, "afterwards")
		h.Must(t, "systemctl", "stop", storing)
		leftNothing(t)
	})
}
