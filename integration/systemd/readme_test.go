package systemd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// The README's words about systemd, in the order in which it says them, with
// nothing changed but where KMS is.

// readme is a block of the README, for the host's emulator.
func readme(t *testing.T, h *harness.Host, marker string) string {
	t.Helper()
	return strings.ReplaceAll(harness.ReadmeBlock(t, marker), "region=cn-hangzhou", "region=cn-hangzhou,"+h.Options())
}

// readmeFile writes a block to the file that its first line names.
func readmeFile(t *testing.T, h *harness.Host, marker string) string {
	t.Helper()
	text := readme(t, h, marker)
	first, _, _ := strings.Cut(text, "\n")
	path, ok := strings.CutPrefix(first, "# /")
	if !ok {
		t.Fatalf("%s: the first line names no file: %s", marker, first)
	}
	h.Put(t, "/"+path, text)
	h.Must(t, "systemctl", "daemon-reload")
	return filepath.Base(path)
}

// shell runs a block as root's shell would.
func shell(t *testing.T, h *harness.Host, marker string) {
	t.Helper()
	cmd := h.Command("bash", "-euc", readme(t, h, marker))
	cmd.Env = append(cmd.Env, "HOME=/root")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", marker, err, out)
	}
}

// nginxConf is a configuration around a server of the README.
func nginxConf(t *testing.T, h *harness.Host) {
	t.Helper()
	h.Put(t, "/etc/nginx/nginx.conf", "events {}\nhttp {\naccess_log off;\n"+harness.ReadmeBlock(t, "nginx")+"}\n")
}

func serves(t *testing.T, h *harness.Host, cert string) {
	t.Helper()
	if got, err := h.Handshake(); err != nil || got != cert {
		t.Errorf("nginx serves another certificate (%v)", err)
	}
}

func TestReadmeServiceWorks(t *testing.T) {
	h := harness.BootKmsfs(t)
	h.Put(t, "/root/.aliyun/config.json", harness.Read(t, h.Path("/etc/kmsfs/config.json")))
	cert := h.NewKey(t, "/etc/nginx/certs", "/etc/nginx/cert.pem")
	nginxConf(t, h)
	readmeFile(t, h, "after service")
	shell(t, h, "service")
	h.Start(t, "nginx.service")
	serves(t, h, cert)
	if got := h.State(t, "kmsfs@certs", "UnitFileState"); got != "enabled" {
		t.Errorf("at the next boot it is %s", got)
	}
	if rule := harness.ReadmeBlock(t, "nftables"); !strings.Contains(rule, `"`+strings.TrimPrefix(h.State(t, "kmsfs@certs", "ControlGroup"), "/")+`"`) {
		t.Errorf("the rule of the firewall is for another cgroup than %s:\n%s", h.State(t, "kmsfs@certs", "ControlGroup"), rule)
	}

	// Rotation: whatever changes while a reload is under way, the last state
	// is served in the end.
	shell(t, h, "rotation")
	for range 2 {
		for range 3 {
			cert = h.NewKey(t, "/etc/nginx/certs", "/etc/nginx/cert.pem")
		}
		h.Until(t, "nginx", "serving the new certificate", func() bool { got, err := h.Handshake(); return err == nil && got == cert })
	}
	// Exactly while nothing is watched: the reload that a change has started
	// is about to begin, and has begun.
	for _, state := range []string{"activating", "inactive"} {
		h.NewKey(t, "/etc/nginx/certs", "/etc/nginx/cert.pem")
		h.Until(t, "kmsfs-reload@etc-nginx-certs.service", state, func() bool {
			return h.State(t, "kmsfs-reload@etc-nginx-certs.service", "ActiveState") == state
		})
		cert = h.NewKey(t, "/etc/nginx/certs", "/etc/nginx/cert.pem")
		h.Until(t, "nginx", "serving the new certificate", func() bool { got, err := h.Handshake(); return err == nil && got == cert })
	}

	t.Run("Backup", func(t *testing.T) {
		// The worst case: the mount is over its own source.
		h.Must(t, "mount", "-t", "kmsfs", "/etc/nginx/certs", "/etc/nginx/certs", "-o", h.Options(harness.CredentialsOption))
		if got := h.Must(t, "ls", "/etc/nginx/certs"); got != "key.pem\n" {
			t.Fatalf("the mount shows %q", got)
		}
		h.Must(t, "mkdir", "-p", "/var/backups")
		shell(t, h, "backup")
		list := h.Must(t, "tar", "--list", "--file", "/var/backups/etc.tar")
		if !strings.Contains(list, "etc/nginx/cert.pem\n") || strings.Contains(list, "etc/nginx/certs/key.pem\n") {
			t.Errorf("the backup has:\n%s", list)
		}
		h.Must(t, "kmsfs", "umount", "/etc/nginx/certs")
		h.Put(t, "/etc/updatedb.conf", "PRUNE_BIND_MOUNTS=\"yes\"\nPRUNEFS=\"NFS afs\"\n") // as Debian has it
		shell(t, h, "updatedb")
		if got := harness.Read(t, h.Path("/etc/updatedb.conf")); !strings.Contains(got, "PRUNEFS=\"fuse.kmsfs NFS afs\"\n") {
			t.Errorf("updatedb.conf reads:\n%s", got)
		}
	})
	h.Must(t, "systemctl", "stop", "kmsfs@certs")
	if got := h.State(t, "nginx", "ActiveState"); got != "inactive" {
		t.Errorf("without what it requires nginx is %s", got)
	}
}

func TestReadmeMountUnitsWork(t *testing.T) {
	h := harness.BootKmsfs(t)
	cert := h.NewKey(t, "/etc/nginx/certs", "/etc/nginx/cert.pem")
	nginxConf(t, h)

	h.Put(t, "/etc/fstab", readme(t, h, "fstab"))
	h.Must(t, "systemctl", "daemon-reload")
	h.Must(t, "systemctl", "start", "run-certs.automount")
	h.Start(t, "nginx.service")
	serves(t, h, cert)
	if got := h.State(t, "run-certs.automount", "TimeoutIdleUSec"); got != "10min" {
		t.Errorf("it is unmounted after %s", got)
	}
	h.Must(t, "systemctl", "stop", "nginx", "run-certs.automount", "run-certs.mount")
	if err := os.Remove(h.Path("/etc/fstab")); err != nil {
		t.Fatal(err)
	}

	mountUnit, automount := readmeFile(t, h, "mount unit"), readmeFile(t, h, "automount unit")
	readmeFile(t, h, "requires mount")
	h.Must(t, "systemctl", "enable", "--now", mountUnit)
	h.Start(t, "nginx.service")
	serves(t, h, cert)
	h.Must(t, "systemctl", "stop", mountUnit)
	if got := h.State(t, "nginx", "ActiveState"); got != "inactive" {
		t.Errorf("without its mount nginx is %s", got)
	}
	h.Must(t, "systemctl", "enable", "--now", automount)
	h.Start(t, "nginx.service")
	serves(t, h, cert)
	h.Must(t, "systemctl", "stop", "nginx", automount, mountUnit)
}
