package integration_test

import (
	"fmt"
	"strings"
	"testing"
)

// mountUnit is a .mount of /srv/certs at /run/certs.
func (h *host) mountUnit(more string, options ...string) string {
	return fmt.Sprintf("[Mount]\nWhat=/srv/certs\nWhere=/run/certs\nType=kmsfs\nOptions=%s\n%s", h.options(append(options, credentials)...), more)
}

// A .mount starts, serves, fails and ends as systemd expects of it.
func TestSystemdMount(t *testing.T) {
	h := bootKmsfs(t)
	h.write(t, "/srv/certs/a.cipher", seal(t, h.lab, "the secret"))
	const unit = "run-certs.mount"
	h.unit(t, unit, h.mountUnit(""))

	h.run(t, "systemctl", "start", unit)
	if got := h.run(t, "cat", "/run/certs/a"); got != "the secret" {
		t.Errorf("reads %q", got)
	}
	if len(h.processes(t, unit)) == 0 {
		t.Error("no process is in the unit's cgroup")
	}
	h.run(t, "systemctl", "stop", unit)
	if what, err := h.Run("findmnt", "/run/certs"); err == nil {
		t.Errorf("still mounted: %s", what)
	}
	h.until(t, unit, "without processes", func() bool { return len(h.processes(t, unit)) == 0 })

	t.Run("FailingStart", func(t *testing.T) {
		h.unit(t, unit, h.mountUnit("", "ttl=never"))
		h.fails(t, "systemctl", "start", unit)
		if got := h.state(t, unit, "Result"); got != "exit-code" {
			t.Errorf("the result is %s", got)
		}
		const why = `read option ttl: "never" is not a duration`
		if log := h.journal(t, unit); !strings.Contains(log, why) {
			t.Errorf("the journal does not say why:\n%s", log)
		}
		if status, _ := h.Run("systemctl", "status", "--no-pager", "--full", unit); !strings.Contains(status, "failed") || !strings.Contains(status, why) {
			t.Errorf("the status does not say why:\n%s", status)
		}
	})

	t.Run("SlowStart", func(t *testing.T) {
		// A file with certificates on a file system that has stopped
		// answering, as a network file system does.
		h.unit(t, unit, h.mountUnit(""))
		h.run(t, "systemctl", "start", unit)
		stopped := h.processes(t, unit)
		h.unit(t, "run-slow.mount", fmt.Sprintf("[Mount]\nWhat=/srv/certs\nWhere=/run/slow\nType=kmsfs\nTimeoutSec=1\nOptions=endpoint=%s,ca_file=/run/certs/a,%s\n", h.lab.Endpoint, credentials))
		stop(t, stopped)
		h.fails(t, "systemctl", "start", "run-slow.mount")
		proceed(t, stopped)
		if got := h.state(t, "run-slow.mount", "Result"); got != "timeout" {
			t.Errorf("the result is %s", got)
		}
		if status, _ := h.Run("systemctl", "status", "--no-pager", "--full", "run-slow.mount"); !strings.Contains(status, "timed out") {
			t.Errorf("the status does not say what happened:\n%s", status)
		}
		h.until(t, "run-slow.mount", "without processes", func() bool { return len(h.processes(t, "run-slow.mount")) == 0 })
		if what, err := h.Run("findmnt", "/run/slow"); err == nil {
			t.Errorf("mounted after the start has failed: %s", what)
		}
		h.run(t, "systemctl", "stop", unit)
	})

	t.Run("Crash", func(t *testing.T) {
		h.unit(t, unit, h.mountUnit(""))
		h.run(t, "systemctl", "start", unit)
		h.run(t, "systemctl", "kill", "--signal=KILL", unit)
		h.until(t, unit, "without processes", func() bool { return len(h.processes(t, unit)) == 0 })
		if out := h.fails(t, "cat", "/run/certs/a"); !strings.Contains(out, "not connected") {
			t.Errorf("a reader gets: %s", out)
		}
		h.run(t, "systemctl", "restart", unit)
		if got := h.run(t, "cat", "/run/certs/a"); got != "the secret" {
			t.Errorf("after the restart it reads %q", got)
		}
		h.run(t, "systemctl", "stop", unit)
	})

	t.Run("LazyUnmount", func(t *testing.T) {
		h.unit(t, unit, h.mountUnit(""))
		h.run(t, "systemctl", "start", unit)
		h.run(t, "systemd-run", "--quiet", "--unit=holder", "--property=StandardInput=file:/run/certs/a", "sleep", "infinity")
		h.until(t, "holder", "running", func() bool { return h.state(t, "holder", "ActiveState") == "active" })
		h.fails(t, "systemctl", "stop", unit)
		if got := h.run(t, "cat", "/run/certs/a"); got != "the secret" {
			t.Errorf("a mount that is in use reads %q", got)
		}
		h.unit(t, unit, h.mountUnit("LazyUnmount=yes\n"))
		h.run(t, "systemctl", "stop", unit)
		if what, err := h.Run("findmnt", "/run/certs"); err == nil {
			t.Errorf("still mounted: %s", what)
		}
		h.run(t, "systemctl", "stop", "holder")
		h.until(t, unit, "without processes", func() bool { return len(h.processes(t, unit)) == 0 })
	})
}

// An automount point mounts at the first access, and again after it was idle.
func TestSystemdAutomount(t *testing.T) {
	h := bootKmsfs(t)
	h.write(t, "/srv/certs/a.cipher", seal(t, h.lab, "the secret"))
	h.unit(t, "run-certs.mount", h.mountUnit(""))
	h.unit(t, "run-certs.automount", "[Automount]\nWhere=/run/certs\nTimeoutIdleSec=1\n")
	h.run(t, "systemctl", "start", "run-certs.automount")
	active := func() bool { return h.state(t, "run-certs.mount", "ActiveState") == "active" }
	if active() {
		t.Error("mounted before anybody has looked")
	}
	for range 2 {
		if got := h.run(t, "cat", "/run/certs/a"); got != "the secret" {
			t.Errorf("reads %q", got)
		}
		if !active() {
			t.Error("not mounted after a read")
		}
		h.until(t, "run-certs.automount", "unmounted when idle", func() bool { return !active() })
	}
	if log := h.journal(t, "run-certs.mount"); strings.Contains(log, "timed out") || strings.Contains(log, "Failed") {
		t.Errorf("the journal has:\n%s", log)
	}

	// The same two units out of one line of fstab.
	h.run(t, "systemctl", "stop", "run-certs.automount")
	h.run(t, "rm", "/etc/systemd/system/run-certs.mount", "/etc/systemd/system/run-certs.automount")
	h.write(t, "/etc/fstab", "/srv/certs /run/certs kmsfs _netdev,nofail,x-systemd.automount,x-systemd.idle-timeout=1h,"+h.options(credentials)+" 0 0\n")
	h.run(t, "systemctl", "daemon-reload")
	if got := h.state(t, "run-certs.automount", "WantedBy"); got != "remote-fs.target" {
		t.Errorf("the generated unit belongs to %q", got)
	}
	h.run(t, "systemctl", "start", "run-certs.automount")
	if got := h.run(t, "cat", "/run/certs/a"); got != "the secret" {
		t.Errorf("reads %q", got)
	}
	if got := h.state(t, "run-certs.mount", "SourcePath"); got != "/etc/fstab" {
		t.Errorf("the mount was made by %q", got)
	}
	h.run(t, "systemctl", "stop", "run-certs.automount", "run-certs.mount")
}

// nginx pulls the mount of its key, and neither starts nor stays without it.
func TestSystemdRequiresMount(t *testing.T) {
	h := bootKmsfs(t)
	cert := h.newKey(t, "/srv/certs", "/etc/nginx/cert.pem")
	h.unit(t, "run-certs.mount", h.mountUnit(""))
	h.write(t, "/etc/nginx/nginx.conf", `events {}
http { access_log off; server { listen 127.0.0.1:443 ssl; ssl_certificate /etc/nginx/cert.pem; ssl_certificate_key /run/certs/key.pem; return 200; } }
`)
	h.unit(t, "nginx.service.d/certs.conf", "[Unit]\nRequiresMountsFor=/run/certs\n")

	h.run(t, "systemctl", "start", "nginx")
	if got := h.state(t, "run-certs.mount", "ActiveState"); got != "active" {
		t.Errorf("the mount is %s", got)
	}
	if got, err := h.handshake(); err != nil || got != cert {
		t.Errorf("nginx serves another certificate (%v)", err)
	}
	h.run(t, "systemctl", "stop", "run-certs.mount")
	if got := h.state(t, "nginx", "ActiveState"); got != "inactive" {
		t.Errorf("without its mount nginx is %s", got)
	}
	h.unit(t, "run-certs.mount", h.mountUnit("", "ttl=never"))
	if out := h.fails(t, "systemctl", "start", "nginx"); !strings.Contains(out, "dependency") {
		t.Errorf("the start fails with: %s", out)
	}
}
