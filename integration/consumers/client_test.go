package consumers_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// sshd takes a host key that nobody but its own user can read, and a client
// that knows the key of the mount finds it there.
func TestSSHDTakesAHostKeyOfItsUser(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	const separation = "/run/sshd" // which sshd insists on and systemd makes
	if os.Mkdir(separation, 0o755) == nil {
		t.Cleanup(func() { os.Remove(separation) })
	}
	for _, mode := range []string{"0400", "0440"} {
		t.Run(mode, func(t *testing.T) {
			m := harness.Mount(t, l, "", "file_mode="+mode, "ttl=1h")
			deploy(t, l, m)
			if err := l.ResetCalls(); err != nil {
				t.Fatal(err)
			}
			host, port := harness.FreeAddress(t)
			dir := t.TempDir()
			conf := filepath.Join(dir, "conf")
			harness.Put(t, conf, "HostKey "+m.Path("key.pem")+"\nListenAddress "+net.JoinHostPort(host, port)+"\nPidFile none\nUsePAM no\nAuthorizedKeysFile none\n")
			d := harness.StartDaemon(t, dir, exec.Command(harness.Program(t, "sshd"), "-D", "-e", "-f", conf))
			if mode != "0400" {
				d.End(t)
				if log := d.Log(); !strings.Contains(log, "Permissions 0440 for '"+m.Path("key.pem")+"' are too open") || d.Cmd.ProcessState.Success() {
					t.Errorf("%v:\n%s", d.Cmd.ProcessState, log)
				}
				return
			}
			d.Until(t, "address", func() bool { return strings.Contains(d.Log(), "listening on "+host) })
			calls := harness.Decrypts(t, l)
			t.Logf("sshd: %d Decrypt calls, opens %v", calls, opens(t, l, m))
			public, err := exec.Command("ssh-keygen", "-y", "-f", m.Path("key.pem")).Output()
			if err != nil {
				t.Fatal(err)
			}
			known := filepath.Join(dir, "known")
			connect := func(key string) string {
				harness.Put(t, known, "["+host+"]:"+port+" "+key)
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
func TestCurlProvesWhoItIsWithAKeyFromTheMount(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "ttl=1h")
	cert := deploy(t, l, m)
	authority := filepath.Join(t.TempDir(), "clients.pem")
	harness.Put(t, authority, cert)
	n := harness.StartNginx(t, m.Path("cert.pem"), m.Path("key.pem"), "ssl_client_certificate", authority+"; ssl_verify_client on;",
		"if ($ssl_client_raw_cert) { return 200 $ssl_client_verify\\n$ssl_client_raw_cert; }")
	curl := func() (string, error) {
		out, err := exec.Command("curl", "-sS", "--insecure", "--cert", m.Path("cert.pem"), "--key", m.Path("key.pem"), "https://"+n.Addr).CombinedOutput()
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
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 58 || !strings.Contains(out, m.Path("cert.pem")) {
		t.Errorf("curl denied its key: %v\n%s", err, out)
	}
}
