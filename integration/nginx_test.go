package integration_test

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// nginx is a real nginx whose key is on the mount.
type nginx struct {
	dir, addr string
	cmd       *exec.Cmd
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

func startNginx(t *testing.T, cert, key string) *nginx {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nginx{dir: t.TempDir(), addr: listener.Addr().String()}
	listener.Close()
	conf := fmt.Sprintf(`daemon off; pid %[1]s/nginx.pid; error_log %[1]s/error.log notice; worker_processes 1;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s ssl; ssl_certificate %[3]s; ssl_certificate_key %[4]s; return 200 "served\n"; }
}
`, n.dir, n.addr, cert, key)
	if err := os.WriteFile(filepath.Join(n.dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	n.cmd = exec.Command(program(t, "nginx"), "-p", n.dir, "-c", filepath.Join(n.dir, "nginx.conf"))
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.stop)
	n.until(t, "a handshake", func() bool { _, ok := n.served(); return ok })
	return n
}

func (n *nginx) stop() {
	n.cmd.Process.Signal(syscall.SIGTERM)
	killer := time.AfterFunc(patience, func() { n.cmd.Process.Kill() })
	defer killer.Stop()
	n.cmd.Wait()
}

// until waits for something that nginx should do.
func (n *nginx) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for begun := time.Now(); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > patience {
			log, _ := os.ReadFile(filepath.Join(n.dir, "error.log"))
			t.Fatalf("nginx: no %s:\n%s", what, log)
		}
	}
}

// served returns the certificate that nginx proves to have the key of.
func (n *nginx) served() (string, bool) {
	conn, err := tls.Dial("tcp", n.addr, &tls.Config{InsecureSkipVerify: true}) // compared below, byte for byte
	if err != nil {
		return "", false
	}
	defer conn.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: conn.ConnectionState().PeerCertificates[0].Raw})), true
}

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
	l := newLab(t)
	m := mount(t, l, "", "ttl=1h")
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
}
