package harness

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

// Nginx is a real nginx whose key is on the mount.
type Nginx struct {
	*Daemon
	Addr string
}

// StartNginx starts nginx with more directives for its server, if any.
func StartNginx(t *testing.T, cert, key string, more ...string) *Nginx {
	t.Helper()
	host, port := FreeAddress(t)
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
	n := &Nginx{
		Daemon: StartDaemon(t, dir, exec.Command(Program(t, "nginx"), "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))),
		Addr:   net.JoinHostPort(host, port),
	}
	n.Until(t, "a handshake", func() bool { _, ok := n.Served(); return ok })
	return n
}

// Served returns the certificate that nginx proves to have the key of.
func (n *Nginx) Served() (string, bool) { return Handshake(n.Addr, "") }

// Reload asks for a reload and waits until it is done.
func (n *Nginx) Reload(t *testing.T) {
	t.Helper()
	out, err := exec.Command(n.Cmd.Path, "-p", n.Dir, "-c", filepath.Join(n.Dir, "nginx.conf"), "-s", "reload").CombinedOutput()
	if err != nil {
		t.Fatalf("nginx -s reload: %v\n%s", err, out)
	}
}

// SealKey makes a private key straight into a ciphertext, so that it never is
// a file.
func SealKey(t *testing.T, l *lab.Lab, path string, bits int) {
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

// Certificate makes a certificate for a key, puts it into a file, and returns it.
func Certificate(t *testing.T, key, path string) string {
	t.Helper()
	out, err := exec.Command("openssl", "req", "-x509", "-new", "-key", key, "-subj", "/CN=localhost", "-days", "1", "-out", path+".new").CombinedOutput()
	if err != nil {
		t.Fatalf("openssl req: %v\n%s", err, out)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return Read(t, path)
}
