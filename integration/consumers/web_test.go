package consumers_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

func nginxServer(t *testing.T, m *harness.Mounted) *server {
	n := harness.StartNginx(t, m.Path("cert.pem"), m.Path("key.pem"))
	s := &server{Daemon: n.Daemon, served: n.Served}
	return s.by(syscall.SIGHUP) // nginx -s reload tests the configuration first, in a process of its own
}

// nginx takes part of its configuration from the mount. A reload that KMS
// refuses keeps the old part, and nginx -s reload says why it does not even
// ask for one.
func TestNginxKeepsTheOldPartWhenRefused(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "ttl=1h")
	deploy(t, l, m)
	harness.Put(t, m.InSource("site.inc.cipher"), harness.Seal(t, l, "add_header X-Included first;\n"))
	n := harness.StartNginx(t, m.Path("cert.pem"), m.Path("key.pem"), "include "+m.Path("site.inc")+";")
	included := func() string {
		client := &http.Client{Timeout: harness.Patience, Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // who answers is another test's matter
		resp, err := client.Get("https://" + n.Addr)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		return resp.Header.Get("X-Included")
	}
	if got := included(); got != "first" {
		t.Fatalf("the included header is %q", got)
	}
	harness.Put(t, m.InSource("site.inc.cipher"), harness.Seal(t, l, "add_header X-Included second;\n"))
	if err := l.Fault(map[string]any{"action": "Decrypt", "code": "Forbidden.NoPermission"}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(n.Cmd.Path, "-p", n.Dir, "-c", filepath.Join(n.Dir, "nginx.conf"), "-s", "reload").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "site.inc\" failed (13: Permission denied)") {
		t.Errorf("nginx -s reload: %v\n%s", err, out)
	}
	said := len(n.Log())
	n.Signal(t, syscall.SIGHUP)
	n.Until(t, "reason", func() bool { return strings.Contains(n.Log()[said:], "site.inc\" failed (13: Permission denied)") })
	if got := included(); got != "first" {
		t.Errorf("after a refused reload the included header is %q", got)
	}
	if err := l.ClearFaults(); err != nil {
		t.Fatal(err)
	}
	readable(t, m, "site.inc")
	n.Reload(t)
	n.Until(t, "new header", func() bool { return included() == "second" })
}

// configured starts a program with a configuration file in a directory of its
// own, both of which format may name by their index: 1 is the directory, 2 the
// host and 3 the port to listen on, 4 the mount.
func configured(t *testing.T, m *harness.Mounted, format, name string, args ...string) *server {
	t.Helper()
	host, port := harness.FreeAddress(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, format, dir, host, port, m.Point), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{Daemon: harness.StartDaemon(t, dir, exec.Command(harness.Program(t, name), append(args, conf)...))}
	s.served = func() (string, bool) { return harness.Handshake(net.JoinHostPort(host, port), "") }
	return s
}

// by lets a signal ask for the reload.
func (s *server) by(signal syscall.Signal) *server {
	s.reload = func(t *testing.T) { t.Helper(); s.Signal(t, signal) }
	return s
}

// haproxyServer has a master, which loads, and workers.
func haproxyServer(t *testing.T, m *harness.Mounted) *server {
	return configured(t, m, `
global
  stats socket %[1]s/socket
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend f
  bind %[2]s:%[3]s ssl crt %[4]s/both.pem
`, "haproxy", "-W", "-db", "-f").by(syscall.SIGUSR2)
}

func apacheServer(t *testing.T, m *harness.Mounted) *server {
	return configured(t, m, `
ServerRoot %[1]s
ServerName localhost
DefaultRuntimeDir %[1]s
PidFile %[1]s/pid
ErrorLog %[1]s/log
User www-data
Group www-data
Listen %[2]s:%[3]s
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
SSLEngine on
SSLCertificateFile %[4]s/cert.pem
SSLCertificateKeyFile %[4]s/key.pem
`, "apache2", "-DFOREGROUND", "-f").by(syscall.SIGUSR1)
}

// A graceful reload ends Apache when it cannot read its key. When KMS cannot
// be reached, stale= is what keeps it.
func TestStaleKeepsApacheInAnOutage(t *testing.T) {
	harness.NeedMount(t)
	for _, stale := range []string{"0s", "1h"} {
		t.Run("stale="+stale, func(t *testing.T) {
			l := harness.NewLab(t)
			m := harness.Mount(t, l, "", "ttl=1s,timeout=2s,stale="+stale)
			cert := deploy(t, l, m)
			s := apacheServer(t, m)
			s.Until(t, "handshake with the mount's certificate", func() bool { got, _ := s.served(); return got == cert })
			l.KillEmulator()
			past := func() bool { return !canRead(m.Path("key.pem")) }
			if stale != "0s" {
				past = func() bool {
					return canRead(m.Path("key.pem")) && strings.Contains(m.Log(), "stale=true")
				}
			}
			s.Until(t, "end of the TTL", past)

			said, opened := len(s.Log()), len(m.Log())
			s.reload(t)
			if stale == "0s" {
				s.End(t)
				if log := s.Log()[said:]; !strings.Contains(log, "Connection timed out") && !strings.Contains(log, "Input/output error") {
					t.Errorf("it ended without the errno's text:\n%s", log)
				}
				return
			}
			s.Until(t, "end of the reload", func() bool { return strings.Contains(s.Log()[said:], "resuming normal operations") })
			if got, _ := s.served(); got != cert {
				t.Error("after a reload in an outage another certificate is served")
			}
			for _, name := range []string{"key.pem", "cert.pem"} {
				stale := regexp.MustCompile(`path=` + name + `\.cipher .*stale=true`)
				s.Until(t, "record of a stale "+name, func() bool { return stale.MatchString(m.Log()[opened:]) })
			}
		})
	}
}

func stunnelServer(t *testing.T, m *harness.Mounted) *server {
	return configured(t, m, `
foreground = yes
syslog = no
pid =
[tls]
accept = %[2]s:%[3]s
connect = %[2]s:1
cert = %[4]s/cert.pem
key = %[4]s/key.pem
`, "stunnel4").by(syscall.SIGHUP)
}
