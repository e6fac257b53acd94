package harness

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/lab"
	"github.com/kmsfs/kmsfs/integration/machine"
)

// Serve starts kmsfs@NAME.
func (h *Host) Serve(t testing.TB, name, source, point string, options ...string) {
	t.Helper()
	h.Put(t, "/etc/kmsfs/"+name+".env", "SRC="+source+"\nMNT="+point+"\nOPTIONS="+h.Options(options...)+"\n")
	h.Put(t, "/etc/credstore/kmsfs."+name, Read(t, h.Path("/etc/kmsfs/config.json")))
	h.Start(t, "kmsfs@"+name+".service")
}

// Host is a machine with systemd, an emulator in its network, and what a mount
// there needs: the emulator's certificate and a file with credentials.
type Host struct {
	*machine.Machine
	Lab *lab.Lab
}

// BootHost boots a host. What is to be installed there is up to the test.
func BootHost(t *testing.T) *Host {
	t.Helper()
	NeedMount(t)
	m, err := machine.Boot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	l := NewLabIn(t, m.Network())
	h := &Host{m, l}
	h.Put(t, "/etc/kmsfs/ca.pem", Read(t, l.CAFile))
	id, secret := AccessKey(l)
	h.Put(t, "/etc/kmsfs/config.json", ConfigJSON(t, map[string]string{
		"name": "default", "mode": "AK", "access_key_id": id, "access_key_secret": secret, "region_id": lab.Region}))
	return h
}

// BootKmsfs is BootHost with kmsfs on it, as make install leaves it.
func BootKmsfs(t *testing.T) *Host {
	t.Helper()
	h := BootHost(t)
	cmd := exec.Command("make", "--silent", "install", "BIN="+BinDir, "DESTDIR="+h.Path("/"), "PREFIX=/usr")
	cmd.Dir = Checkout()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	h.Must(t, "systemd-sysusers", "kmsfs.conf")
	h.Must(t, "systemctl", "daemon-reload")
	return h
}

// Options lead a mount there to the emulator.
func (h *Host) Options(more ...string) string {
	return strings.Join(append(more, "endpoint="+h.Lab.Endpoint, "ca_file=/etc/kmsfs/ca.pem", "allow_emulator"), ",")
}

// CredentialsOption is the option for where no unit lends them.
const CredentialsOption = "credentials_file=/etc/kmsfs/config.json"

// Put writes a file of the host, for root only.
func (h *Host) Put(t testing.TB, path, content string) {
	t.Helper()
	if err := h.Write(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Unit writes a unit and makes systemd read it.
func (h *Host) Unit(t testing.TB, name, content string) {
	t.Helper()
	h.Put(t, "/etc/systemd/system/"+name, content)
	h.Must(t, "systemctl", "daemon-reload")
}

// Must runs what has to succeed, and returns what it printed.
func (h *Host) Must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := h.Run(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Start starts a unit, or tells what systemd says of it.
func (h *Host) Start(t testing.TB, unit string) {
	t.Helper()
	if _, err := h.Run("systemctl", "start", unit); err != nil {
		t.Fatalf("%v\n%s", err, h.Journal(t, unit))
	}
}

// Fails is run for what must not work.
func (h *Host) Fails(t testing.TB, args ...string) string {
	t.Helper()
	out, err := h.Run(args...)
	if err == nil {
		t.Fatalf("%s worked:\n%s", strings.Join(args, " "), out)
	}
	return out
}

// State is a property of a unit.
func (h *Host) State(t testing.TB, unit, property string) string {
	t.Helper()
	return strings.TrimSpace(h.Must(t, "systemctl", "show", "--value", "--property="+property, unit))
}

// Journal is what a unit has logged.
func (h *Host) Journal(t testing.TB, unit string) string {
	t.Helper()
	return h.Must(t, "journalctl", "--sync", "--quiet", "--no-pager") + h.Must(t, "journalctl", "--no-pager", "--unit="+unit)
}

// Until waits for something that should come by itself.
func (h *Host) Until(t testing.TB, unit, what string, done func() bool) {
	t.Helper()
	Eventually(t, what, done, func() string {
		status, _ := h.Run("systemctl", "status", "--no-pager", "--full", unit)
		return status
	})
}

// ProcessesOf are those of a unit.
func (h *Host) ProcessesOf(t testing.TB, unit string) []int {
	t.Helper()
	pids, err := h.Processes(h.State(t, unit, "ControlGroup"))
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

// Handshake returns the certificate that a server on the host proves to have
// the key of.
func (h *Host) Handshake() (string, error) {
	raw, err := h.Lab.Dial(context.Background(), "tcp", "127.0.0.1:443")
	if err != nil {
		return "", err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(Patience))
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) // compared by the caller
	if err := conn.Handshake(); err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: conn.ConnectionState().PeerCertificates[0].Raw})), nil
}

// NewKey makes a private key that is only ciphertext, key.pem.cipher in a
// directory of the host, and a certificate for it, which it returns. Each is
// put there by a rename.
func (h *Host) NewKey(t testing.TB, dir, cert string) string {
	t.Helper()
	h.Must(t, "mkdir", "-p", dir)
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
	h.Put(t, dir+"/key.pem.cipher", Seal(t, h.Lab, string(key)))
	h.Put(t, cert, string(text))
	return string(text)
}
