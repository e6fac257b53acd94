package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The README's words about systemd, in the order in which it says them, with
// nothing changed but where KMS is.

// readme is a block of the README, for the host's emulator.
func (h *host) readme(t *testing.T, marker string) string {
	t.Helper()
	return strings.ReplaceAll(snippet(t, marker), "region=cn-hangzhou", "region=cn-hangzhou,"+h.options())
}

// readmeFile writes a block to the file that its first line names.
func (h *host) readmeFile(t *testing.T, marker string) string {
	t.Helper()
	text := h.readme(t, marker)
	first, _, _ := strings.Cut(text, "\n")
	path, ok := strings.CutPrefix(first, "# /")
	if !ok {
		t.Fatalf("%s: the first line names no file: %s", marker, first)
	}
	h.write(t, "/"+path, text)
	h.run(t, "systemctl", "daemon-reload")
	return filepath.Base(path)
}

// shell runs a block as root's shell would.
func (h *host) shell(t *testing.T, marker string) {
	t.Helper()
	cmd := h.Command("bash", "-euc", h.readme(t, marker))
	cmd.Env = append(cmd.Env, "HOME=/root")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", marker, err, out)
	}
}

// nginxConf is a configuration around a server of the README.
func (h *host) nginxConf(t *testing.T) {
	t.Helper()
	h.write(t, "/etc/nginx/nginx.conf", "events {}\nhttp {\naccess_log off;\n"+snippet(t, "nginx")+"}\n")
}

func (h *host) serves(t *testing.T, cert string) {
	t.Helper()
	if got, err := h.handshake(); err != nil || got != cert {
		t.Errorf("nginx serves another certificate (%v)", err)
	}
}

func TestReadmeService(t *testing.T) {
	h := bootKmsfs(t)
	h.write(t, "/root/.aliyun/config.json", read(t, h.Path("/etc/kmsfs/config.json")))
	cert := h.newKey(t, "/etc/nginx/certs", "/etc/nginx/cert.pem")
	h.nginxConf(t)
	h.readmeFile(t, "after service")
	h.shell(t, "service")
	h.start(t, "nginx.service")
	h.serves(t, cert)
	if got := h.state(t, "kmsfs@certs", "UnitFileState"); got != "enabled" {
		t.Errorf("at the next boot it is %s", got)
	}
	if rule := snippet(t, "nftables"); !strings.Contains(rule, `"`+strings.TrimPrefix(h.state(t, "kmsfs@certs", "ControlGroup"), "/")+`"`) {
		t.Errorf("the rule of the firewall is for another cgroup than %s:\n%s", h.state(t, "kmsfs@certs", "ControlGroup"), rule)
	}

	// Rotation: whatever changes while a reload is under way, the last state
	// is served in the end.
	h.shell(t, "rotation")
	for range 2 {
		for range 3 {
			cert = h.newKey(t, "/etc/nginx/certs", "/etc/nginx/cert.pem")
		}
		h.until(t, "nginx", "serving the new certificate", func() bool { got, err := h.handshake(); return err == nil && got == cert })
	}
	// Exactly while nothing is watched: the reload that a change has started
	// is about to begin, and has begun.
	for _, state := range []string{"activating", "inactive"} {
		h.newKey(t, "/etc/nginx/certs", "/etc/nginx/cert.pem")
		h.until(t, "kmsfs-reload@etc-nginx-certs.service", state, func() bool {
			return h.state(t, "kmsfs-reload@etc-nginx-certs.service", "ActiveState") == state
		})
		cert = h.newKey(t, "/etc/nginx/certs", "/etc/nginx/cert.pem")
		h.until(t, "nginx", "serving the new certificate", func() bool { got, err := h.handshake(); return err == nil && got == cert })
	}

	t.Run("Backup", func(t *testing.T) {
		// The worst case: the mount is over its own source.
		h.run(t, "mount", "-t", "kmsfs", "/etc/nginx/certs", "/etc/nginx/certs", "-o", h.options(credentials))
		if got := h.run(t, "ls", "/etc/nginx/certs"); got != "key.pem\n" {
			t.Fatalf("the mount shows %q", got)
		}
		h.run(t, "mkdir", "-p", "/var/backups")
		h.shell(t, "backup")
		list := h.run(t, "tar", "--list", "--file", "/var/backups/etc.tar")
		if !strings.Contains(list, "etc/nginx/cert.pem\n") || strings.Contains(list, "etc/nginx/certs/key.pem\n") {
			t.Errorf("the backup has:\n%s", list)
		}
		h.run(t, "kmsfs", "umount", "/etc/nginx/certs")
		h.write(t, "/etc/updatedb.conf", "PRUNE_BIND_MOUNTS=\"yes\"\nPRUNEFS=\"NFS afs\"\n") // as Debian has it
		h.shell(t, "updatedb")
		if got := read(t, h.Path("/etc/updatedb.conf")); !strings.Contains(got, "PRUNEFS=\"fuse.kmsfs NFS afs\"\n") {
			t.Errorf("updatedb.conf reads:\n%s", got)
		}
	})
	h.run(t, "systemctl", "stop", "kmsfs@certs")
	if got := h.state(t, "nginx", "ActiveState"); got != "inactive" {
		t.Errorf("without what it requires nginx is %s", got)
	}
}

func TestReadmeMounts(t *testing.T) {
	h := bootKmsfs(t)
	cert := h.newKey(t, "/etc/nginx/certs", "/etc/nginx/cert.pem")
	h.nginxConf(t)

	h.write(t, "/etc/fstab", h.readme(t, "fstab"))
	h.run(t, "systemctl", "daemon-reload")
	h.run(t, "systemctl", "start", "run-certs.automount")
	h.start(t, "nginx.service")
	h.serves(t, cert)
	if got := h.state(t, "run-certs.automount", "TimeoutIdleUSec"); got != "10min" {
		t.Errorf("it is unmounted after %s", got)
	}
	h.run(t, "systemctl", "stop", "nginx", "run-certs.automount", "run-certs.mount")
	if err := os.Remove(h.Path("/etc/fstab")); err != nil {
		t.Fatal(err)
	}

	mountUnit, automount := h.readmeFile(t, "mount unit"), h.readmeFile(t, "automount unit")
	h.readmeFile(t, "requires mount")
	h.run(t, "systemctl", "enable", "--now", mountUnit)
	h.start(t, "nginx.service")
	h.serves(t, cert)
	h.run(t, "systemctl", "stop", mountUnit)
	if got := h.state(t, "nginx", "ActiveState"); got != "inactive" {
		t.Errorf("without its mount nginx is %s", got)
	}
	h.run(t, "systemctl", "enable", "--now", automount)
	h.start(t, "nginx.service")
	h.serves(t, cert)
	h.run(t, "systemctl", "stop", "nginx", automount, mountUnit)
}
