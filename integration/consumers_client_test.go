package integration_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sshd takes a host key that nobody but its own user can read, and a client
// that knows the key of the mount finds it there.
func TestSSHHostKey(t *testing.T) {
	needMount(t)
	l := newLab(t)
	const separation = "/run/sshd" // which sshd insists on and systemd makes
	if os.Mkdir(separation, 0o755) == nil {
		t.Cleanup(func() { os.Remove(separation) })
	}
	for _, mode := range []string{"0400", "0440"} {
		t.Run(mode, func(t *testing.T) {
			m := mount(t, l, "", "file_mode="+mode, "ttl=1h")
			deploy(t, l, m)
			if err := l.ResetCalls(); err != nil {
				t.Fatal(err)
			}
			host, port := address(t)
			dir := t.TempDir()
			conf := filepath.Join(dir, "conf")
			put(t, conf, "HostKey "+m.path("key.pem")+"\nListenAddress "+net.JoinHostPort(host, port)+"\nPidFile none\nUsePAM no\nAuthorizedKeysFile none\n")
			d := launch(t, dir, exec.Command(program(t, "sshd"), "-D", "-e", "-f", conf))
			if mode != "0400" {
				d.end(t)
				if log := d.log(); !strings.Contains(log, "Permissions 0440 for '"+m.path("key.pem")+"' are too open") || d.cmd.ProcessState.Success() {
					t.Errorf("%v:\n%s", d.cmd.ProcessState, log)
				}
				return
			}
			d.until(t, "address", func() bool { return strings.Contains(d.log(), "listening on "+host) })
			calls := decrypts(t, l)
			t.Logf("sshd: %d Decrypt calls, opens %v", calls, opens(t, l, m))
			public, err := exec.Command("ssh-keygen", "-y", "-f", m.path("key.pem")).Output()
			if err != nil {
				t.Fatal(err)
			}
			known := filepath.Join(dir, "known")
			connect := func(key string) string {
				put(t, known, "["+host+"]:"+port+" "+key)
				out, err := exec.Command("ssh", "-F", "none", "-o", "UserKnownHostsFile="+known, "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes",
					"-o", "PreferredAuthentications=none", "-o", "BatchMode=yes", "-p", port, "root@"+host, "true").CombinedOutput()
				if err == nil {
					t.Error("ssh came in without any authentication")
				}
				return string(out)
			}
			// Asked for who it is, the client has accepted the server.
			if out := connect(string(public)); !strings.Contains(out, "root@"+host+": Permission denied (") {
				t.Errorf("ssh that knows the mount's key:\n%s", out)
			}
			other, err := exec.Command("sh", "-c", "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | ssh-keygen -y -f /dev/stdin").Output()
			if err != nil {
				t.Fatal(err)
			}
			if out := connect(string(other)); !strings.Contains(out, "Host key verification failed") {
				t.Errorf("ssh that knows another key:\n%s", out)
			}
		})
	}
}

// curl proves to nginx who it is, with a key from the mount, and says so when
// KMS denies it.
func TestCurlClientKey(t *testing.T) {
	l := newLab(t)
	m := mount(t, l, "", "ttl=1h")
	cert := deploy(t, l, m)
	authority := filepath.Join(t.TempDir(), "clients.pem")
	put(t, authority, cert)
	n := startNginx(t, m.path("cert.pem"), m.path("key.pem"), "ssl_client_certificate", authority+"; ssl_verify_client on;",
		"if ($ssl_client_raw_cert) { return 200 $ssl_client_verify\\n$ssl_client_raw_cert; }")
	curl := func() (string, error) {
		out, err := exec.Command("curl", "-sS", "--insecure", "--cert", m.path("cert.pem"), "--key", m.path("key.pem"), "https://"+n.addr).CombinedOutput()
		return string(out), err
	}
	out, err := curl()
	if err != nil || strings.TrimSpace(out) != "SUCCESS\n"+strings.TrimSpace(cert) {
		t.Errorf("%v: %q", err, out)
	}
	t.Logf("curl, and nginx before it: opens %v", opens(t, l, m))

	deploy(t, l, m)
	if err := l.Fault(map[string]any{"action": "Decrypt", "code": "Forbidden.NoPermission"}); err != nil {
		t.Fatal(err)
	}
	out, err = curl()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 58 || !strings.Contains(out, m.path("cert.pem")) {
		t.Errorf("curl denied its key: %v\n%s", err, out)
	}
}
