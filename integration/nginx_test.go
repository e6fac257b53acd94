package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// nginx is a real nginx whose key is on the mount.
type nginx struct {
	*daemon
	addr string
}

func program(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode()&0o111 != 0 {
			return filepath.Join(dir, name)
		}
	}
	t.Fatalf("%s is not installed; make setup installs it", name)
	return ""
}

// startNginx starts nginx with more directives for its server, if any.
func startNginx(t *testing.T, cert, key string, more ...string) *nginx {
	t.Helper()
	host, port := address(t)
	dir := t.TempDir()
	conf := fmt.Sprintf(`daemon off; pid %[1]s/nginx.pid; error_log %[1]s/log notice; worker_processes 1;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s ssl; ssl_certificate %[3]s; ssl_certificate_key %[4]s; %[5]s return 200 "served\n"; }
}
`, dir, net.JoinHostPort(host, port), cert, key, strings.Join(more, " "))
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &nginx{
		daemon: launch(t, dir, exec.Command(program(t, "nginx"), "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))),
		addr:   net.JoinHostPort(host, port),
	}
	n.until(t, "a handshake", func() bool { _, ok := n.served(); return ok })
	return n
}

// served returns the certificate that nginx proves to have the key of.
func (n *nginx) served() (string, bool) { return handshake(n.addr, "") }

func (n *nginx) reload(t *testing.T) {
	t.Helper()
	out, err := exec.Command(n.cmd.Path, "-p", n.dir, "-c", filepath.Join(n.dir, "nginx.conf"), "-s", "reload").CombinedOutput()
	if err != nil {
		t.Fatalf("nginx -s reload: %v\n%s", err, out)
	}
}

// keyInto makes a private key straight into a ciphertext, so that it never is
// a file.
func keyInto(t *testing.T, l *lab.Lab, path string, bits int) {
	t.Helper()
	gen := exec.Command("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", fmt.Sprint("rsa_keygen_bits:", bits))
	enc := l.Command("encrypt", "--force", "--key", lab.Alias, "--output", path, "-")
	pipe, err := gen.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	enc.Stdin = pipe
	if err := enc.Start(); err != nil {
		t.Fatal(err)
	}
	if err := gen.Run(); err != nil {
		t.Fatal(err)
	}
	if err := enc.Wait(); err != nil {
		t.Fatal(err)
	}
}

func certificate(t *testing.T, key, path string) string {
	t.Helper()
	out, err := exec.Command("openssl", "req", "-x509", "-new", "-key", key, "-subj", "/CN=localhost", "-days", "1", "-out", path+".new").CombinedOutput()
	if err != nil {
		t.Fatalf("openssl req: %v\n%s", err, out)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return read(t, path)
}

// nginx serves TLS with a key that exists only as ciphertext, and takes a
// longer key at a reload within the TTL.
func TestNginx(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		l := newLab(t)
		m := mount(t, l, "", mode, "ttl=1h")
		cert := filepath.Join(t.TempDir(), "cert.pem")
		keyInto(t, l, m.source("key.pem.cipher"), 2048)
		if out, err := exec.Command("openssl", "pkey", "-in", m.path("key.pem"), "-noout", "-check").CombinedOutput(); err != nil {
			t.Fatalf("openssl pkey: %v\n%s", err, out)
		}
		first := certificate(t, m.path("key.pem"), cert)
		n := startNginx(t, cert, m.path("key.pem"))
		if got, _ := n.served(); got != first {
			t.Error("nginx serves another certificate")
		}
		out, err := exec.Command("sh", "-c", "openssl s_client -connect "+n.addr+" </dev/null 2>/dev/null | openssl x509 -noout -pubkey").Output()
		if err != nil {
			t.Fatal(err)
		}
		want, err := exec.Command("openssl", "pkey", "-in", m.path("key.pem"), "-pubout").Output()
		if err != nil || string(out) != string(want) || !strings.Contains(string(want), "PUBLIC KEY") {
			t.Errorf("the served key is not the mounted one (%v):\n%s%s", err, out, want)
		}

		before, err := os.Stat(m.path("key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		keyInto(t, l, m.source("key.pem.cipher"), 4096)
		after, err := os.Stat(m.path("key.pem"))
		if err != nil || after.Size() <= before.Size() {
			t.Fatalf("the new key is not longer: %v, %v", after, err)
		}
		second := certificate(t, m.path("key.pem"), cert)
		n.reload(t)
		n.until(t, "new certificate", func() bool { got, _ := n.served(); return got == second })
	})
}
