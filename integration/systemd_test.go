package integration_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/lab"
	"github.com/kmsfs/kmsfs/integration/machine"
)

// host is a machine with systemd, an emulator in its network, and what a mount
// there needs: the emulator's certificate and a file with credentials.
type host struct {
	*machine.Machine
	lab *lab.Lab
}

// bootHost boots a host. What is to be installed there is up to the test.
func bootHost(t *testing.T) *host {
	t.Helper()
	needMount(t)
	m, err := machine.Boot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	l, err := lab.StartIn(m.Network(), binDir, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	if _, err := l.CreateKey(); err != nil {
		t.Fatal(err)
	}
	h := &host{m, l}
	h.write(t, "/etc/kmsfs/ca.pem", read(t, l.CAFile))
	id, secret := labKey(l)
	h.write(t, "/etc/kmsfs/config.json", configJSON(t, map[string]string{
		"name": "default", "mode": "AK", "access_key_id": id, "access_key_secret": secret, "region_id": lab.Region}))
	return h
}

// bootKmsfs is bootHost with kmsfs on it, as make install leaves it.
func bootKmsfs(t *testing.T) *host {
	t.Helper()
	h := bootHost(t)
	cmd := exec.Command("make", "--silent", "install", "BIN="+binDir, "DESTDIR="+h.Path("/"), "PREFIX=/usr")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	h.run(t, "systemd-sysusers", "kmsfs.conf")
	h.run(t, "systemctl", "daemon-reload")
	return h
}

// options lead a mount there to the emulator.
func (h *host) options(more ...string) string {
	return strings.Join(append(more, "endpoint="+h.lab.Endpoint, "ca_file=/etc/kmsfs/ca.pem", "allow_emulator"), ",")
}

// credentials is the option for where no unit lends them.
const credentials = "credentials_file=/etc/kmsfs/config.json"

func (h *host) write(t testing.TB, path, content string) {
	t.Helper()
	if err := h.Write(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// unit writes a unit and makes systemd read it.
func (h *host) unit(t testing.TB, name, content string) {
	t.Helper()
	h.write(t, "/etc/systemd/system/"+name, content)
	h.run(t, "systemctl", "daemon-reload")
}

func (h *host) run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := h.Run(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// start starts a unit, or tells what systemd says of it.
func (h *host) start(t testing.TB, unit string) {
	t.Helper()
	if _, err := h.Run("systemctl", "start", unit); err != nil {
		t.Fatalf("%v\n%s", err, h.journal(t, unit))
	}
}

// fails is run for what must not work.
func (h *host) fails(t testing.TB, args ...string) string {
	t.Helper()
	out, err := h.Run(args...)
	if err == nil {
		t.Fatalf("%s worked:\n%s", strings.Join(args, " "), out)
	}
	return out
}

// state is a property of a unit.
func (h *host) state(t testing.TB, unit, property string) string {
	t.Helper()
	return strings.TrimSpace(h.run(t, "systemctl", "show", "--value", "--property="+property, unit))
}

// journal is what a unit has logged.
func (h *host) journal(t testing.TB, unit string) string {
	t.Helper()
	return h.run(t, "journalctl", "--sync", "--quiet", "--no-pager") + h.run(t, "journalctl", "--no-pager", "--unit="+unit)
}

// until waits for something that should come by itself.
func (h *host) until(t testing.TB, unit, what string, done func() bool) {
	t.Helper()
	for begun := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > patience {
			status, _ := h.Run("systemctl", "status", "--no-pager", "--full", unit)
			t.Fatalf("not %s:\n%s", what, status)
		}
	}
}

// processes are those of a unit.
func (h *host) processes(t testing.TB, unit string) []int {
	t.Helper()
	pids, err := h.Processes(h.state(t, unit, "ControlGroup"))
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

// handshake returns the certificate that a server on the host proves to have
// the key of.
func (h *host) handshake() (string, error) {
	raw, err := h.lab.Dial(context.Background(), "tcp", "127.0.0.1:443")
	if err != nil {
		return "", err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(patience))
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) // compared by the caller
	if err := conn.Handshake(); err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: conn.ConnectionState().PeerCertificates[0].Raw})), nil
}

// newKey makes a private key that is only ciphertext, key.pem.cipher in a
// directory of the host, and a certificate for it, which it returns. Each is
// put there by a rename.
func (h *host) newKey(t testing.TB, dir, cert string) string {
	t.Helper()
	h.run(t, "mkdir", "-p", dir)
	generate := exec.Command("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
	key, err := generate.Output()
	if err != nil {
		t.Fatal(err)
	}
	request := exec.Command("openssl", "req", "-x509", "-new", "-key", "/dev/stdin", "-subj", "/CN=localhost", "-days", "1")
	request.Stdin = strings.NewReader(string(key))
	text, err := request.Output()
	if err != nil {
		t.Fatal(err)
	}
	h.write(t, dir+"/key.pem.cipher", seal(t, h.lab, string(key)))
	h.write(t, cert, string(text))
	return string(text)
}

// stop and proceed are job control on processes that this test has started.
func stop(t testing.TB, pids []int)    { signalAll(t, pids, syscall.SIGSTOP) }
func proceed(t testing.TB, pids []int) { signalAll(t, pids, syscall.SIGCONT) }

func signalAll(t testing.TB, pids []int, s syscall.Signal) {
	t.Helper()
	if len(pids) == 0 {
		t.Fatal("there is no process")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, s); err != nil {
			t.Error(err)
		}
	}
}
