package systemd_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// mountUnit is a .mount of /srv/certs at /run/certs.
func mountUnit(more string, h *harness.Host, options ...string) string {
	return fmt.Sprintf("[Mount]\nWhat=/srv/certs\nWhere=/run/certs\nType=kmsfs\nOptions=%s\n%s", h.Options(append(options, harness.CredentialsOption)...), more)
}

// A .mount starts, serves, fails and ends as systemd expects of it.
func TestMountUnitStartsServesAndEnds(t *testing.T) {
	h := harness.BootKmsfs(t)
	h.Put(t, "/srv/certs/a.cipher", harness.Seal(t, h.Lab, "the secret"))
	const unit = "run-certs.mount"
	h.Unit(t, unit, mountUnit("", h))

	h.Must(t, "systemctl", "start", unit)
	if got := h.Must(t, "cat", "/run/certs/a"); got != "the secret" {
		t.Errorf("reads %q", got)
	}
	if len(h.ProcessesOf(t, unit)) == 0 {
		t.Error("no process is in the unit's cgroup")
	}
	h.Must(t, "systemctl", "stop", unit)
	if what, err := h.Run("findmnt", "/run/certs"); err == nil {
		t.Errorf("still mounted: %s", what)
	}
	h.Until(t, unit, "without processes", func() bool { return len(h.ProcessesOf(t, unit)) == 0 })

	t.Run("FailingStart", func(t *testing.T) {
		h.Unit(t, unit, mountUnit("", h, "ttl=never"))
		h.Fails(t, "systemctl", "start", unit)
		if got := h.State(t, unit, "Result"); got != "exit-code" {
			t.Errorf("the result is %s", got)
		}
		const why = `read option ttl: "never" is not a duration`
		if log := h.Journal(t, unit); !strings.Contains(log, why) {
			t.Errorf("the journal does not say why:\n%s", log)
		}
		if status, _ := h.Run("systemctl", "status", "--no-pager", "--full", unit); !strings.Contains(status, "failed") || !strings.Contains(status, why) {
			t.Errorf("the status does not say why:\n%s", status)
		}
	})

	t.Run("SlowStart", func(t *testing.T) {
		// A file with certificates on a file system that has stopped
		// answering, as a network file system does.
		h.Unit(t, unit, mountUnit("", h))
		h.Must(t, "systemctl", "start", unit)
		stopped := h.ProcessesOf(t, unit)
		h.Unit(t, "run-slow.mount", fmt.Sprintf("[Mount]\nWhat=/srv/certs\nWhere=/run/slow\nType=kmsfs\nTimeoutSec=1\nOptions=endpoint=%s,ca_file=/run/certs/a,%s\n", h.Lab.Endpoint, harness.CredentialsOption))
		harness.Stop(t, stopped)
		h.Fails(t, "systemctl", "start", "run-slow.mount")
		harness.Proceed(t, stopped)
		if got := h.State(t, "run-slow.mount", "Result"); got != "timeout" {
			t.Errorf("the result is %s", got)
		}
		if status, _ := h.Run("systemctl", "status", "--no-pager", "--full", "run-slow.mount"); !strings.Contains(status, "timed out") {
			t.Errorf("the status does not say what happened:\n%s", status)
		}
		h.Until(t, "run-slow.mount", "without processes", func() bool { return len(h.ProcessesOf(t, "run-slow.mount")) == 0 })
		if what, err := h.Run("findmnt", "/run/slow"); err == nil {
			t.Errorf("mounted after the start has failed: %s", what)
		}
		h.Must(t, "systemctl", "stop", unit)
	})

	t.Run("Crash", func(t *testing.T) {
		h.Unit(t, unit, mountUnit("", h))
		h.Must(t, "systemctl", "start", unit)
		h.Must(t, "systemctl", "kill", "--signal=KILL", unit)
		h.Until(t, unit, "without processes", func() bool { return len(h.ProcessesOf(t, unit)) == 0 })
		if out := h.Fails(t, "cat", "/run/certs/a"); !strings.Contains(out, "not connected") {
			t.Errorf("a reader gets: %s", out)
		}
		h.Must(t, "systemctl", "restart", unit)
		if got := h.Must(t, "cat", "/run/certs/a"); got != "the secret" {
			t.Errorf("after the restart it reads %q", got)
		}
		h.Must(t, "systemctl", "stop", unit)
	})

	t.Run("LazyUnmount", func(t *testing.T) {
		h.Unit(t, unit, mountUnit("", h))
		h.Must(t, "systemctl", "start", unit)
		h.Must(t, "systemd-run", "--quiet", "--unit=holder", "--property=StandardInput=file:/run/certs/a", "sleep", "infinity")
		h.Until(t, "holder", "running", func() bool { return h.State(t, "holder", "ActiveState") == "active" })
		h.Fails(t, "systemctl", "stop", unit)
		if got := h.Must(t, "cat", "/run/certs/a"); got != "the secret" {
			t.Errorf("a mount that is in use reads %q", got)
		}
		h.Unit(t, unit, mountUnit("LazyUnmount=yes\n", h))
		h.Must(t, "systemctl", "stop", unit)
		if what, err := h.Run("findmnt", "/run/certs"); err == nil {
			t.Errorf("still mounted: %s", what)
		}
		h.Must(t, "systemctl", "stop", "holder")
		h.Until(t, unit, "without processes", func() bool { return len(h.ProcessesOf(t, unit)) == 0 })
	})
}

// An automount point mounts at the first access, and again after it was idle.
func TestAutomountMountsAtTheFirstAccess(t *testing.T) {
	h := harness.BootKmsfs(t)
	h.Put(t, "/srv/certs/a.cipher", harness.Seal(t, h.Lab, "the secret"))
	h.Unit(t, "run-certs.mount", mountUnit("", h))
	h.Unit(t, "run-certs.automount", "[Automount]\nWhere=/run/certs\nTimeoutIdleSec=1\n")
	h.Must(t, "systemctl", "start", "run-certs.automount")
	active := func() bool { return h.State(t, "run-certs.mount", "ActiveState") == "active" }
	if active() {
		t.Error("mounted before anybody has looked")
	}
	for range 2 {
		if got := h.Must(t, "cat", "/run/certs/a"); got != "the secret" {
			t.Errorf("reads %q", got)
		}
		if !active() {
			t.Error("not mounted after a read")
		}
		h.Until(t, "run-certs.automount", "unmounted when idle", func() bool { return !active() })
	}
	if log := h.Journal(t, "run-certs.mount"); strings.Contains(log, "timed out") || strings.Contains(log, "Failed") {
		t.Errorf("the journal has:\n%s", log)
	}

	// The same two units out of one line of fstab.
	h.Must(t, "systemctl", "stop", "run-certs.automount")
	h.Must(t, "rm", "/etc/systemd/system/run-certs.mount", "/etc/systemd/system/run-certs.automount")
	h.Put(t, "/etc/fstab", "/srv/certs /run/certs kmsfs _netdev,nofail,x-systemd.automount,x-systemd.idle-timeout=1h,"+h.Options(harness.CredentialsOption)+" 0 0\n")
	h.Must(t, "systemctl", "daemon-reload")
	if got := h.State(t, "run-certs.automount", "WantedBy"); got != "remote-fs.target" {
		t.Errorf("the generated unit belongs to %q", got)
	}
	h.Must(t, "systemctl", "start", "run-certs.automount")
	if got := h.Must(t, "cat", "/run/certs/a"); got != "the secret" {
		t.Errorf("reads %q", got)
	}
	if got := h.State(t, "run-certs.mount", "SourcePath"); got != "/etc/fstab" {
		t.Errorf("the mount was made by %q", got)
	}
	h.Must(t, "systemctl", "stop", "run-certs.automount", "run-certs.mount")
}

// nginx pulls the mount of its key, and neither starts nor stays without it.
func TestNginxNeedsTheMountOfItsKey(t *testing.T) {
	h := harness.BootKmsfs(t)
	cert := h.NewKey(t, "/srv/certs", "/etc/nginx/cert.pem")
	h.Unit(t, "run-certs.mount", mountUnit("", h))
	h.Put(t, "/etc/nginx/nginx.conf", `events {}
http { access_log off; server { listen 127.0.0.1:443 ssl; ssl_certificate /etc/nginx/cert.pem; ssl_certificate_key /run/certs/key.pem; return 200; } }
`)
	h.Unit(t, "nginx.service.d/certs.conf", "[Unit]\nRequiresMountsFor=/run/certs\n")

	h.Must(t, "systemctl", "start", "nginx")
	if got := h.State(t, "run-certs.mount", "ActiveState"); got != "active" {
		t.Errorf("the mount is %s", got)
	}
	if got, err := h.Handshake(); err != nil || got != cert {
		t.Errorf("nginx serves another certificate (%v)", err)
	}
	h.Must(t, "systemctl", "stop", "run-certs.mount")
	if got := h.State(t, "nginx", "ActiveState"); got != "inactive" {
		t.Errorf("without its mount nginx is %s", got)
	}
	h.Unit(t, "run-certs.mount", mountUnit("", h, "ttl=never"))
	if out := h.Fails(t, "systemctl", "start", "nginx"); !strings.Contains(out, "dependency") {
		t.Errorf("the start fails with: %s", out)
	}
}
