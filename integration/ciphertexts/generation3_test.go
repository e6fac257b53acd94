package ciphertexts_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// The main job with such a key: a private key that is made into a ciphertext,
// listed with its exact size for no call, read, used by nginx, replaced by a
// longer one, and refused when KMS refuses.
func TestKeyOfGeneration3Serves(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l, keyID := harness.NewLabGeneration3(t)
		m := harness.Mount(t, l, "", mode, "ttl=1h")
		harness.SealKey(t, l, m.InSource("key.pem.cipher"), 2048)

		shown, err := exec.Command("ls", "-l", m.Point).Output()
		if err != nil {
			t.Fatal(err)
		}
		if n := harness.Decrypts(t, l); n != 0 {
			t.Errorf("ls -l took %d calls", n)
		}
		text, err := exec.Command("cat", m.Path("key.pem")).Output()
		if err != nil || !strings.HasPrefix(string(text), "-----BEGIN PRIVATE KEY-----\n") {
			t.Fatalf("cat printed %d bytes, %v", len(text), err)
		}
		if n := harness.Decrypts(t, l); n != 1 {
			t.Errorf("cat took %d calls", n)
		}
		if out, err := l.Kmsfs(nil, "decrypt", m.InSource("key.pem.cipher")); err != nil || out != string(text) {
			t.Errorf("decrypt gave %d bytes, %v", len(out), err)
		}
		line := strings.Split(strings.TrimSpace(string(shown)), "\n")[1]
		if columns := strings.Fields(line); columns[4] != strconv.Itoa(len(text)) || columns[8] != "key.pem" {
			t.Errorf("%d bytes, ls -l showed %q", len(text), line)
		}

		cert := filepath.Join(t.TempDir(), "cert.pem")
		first := harness.Certificate(t, m.Path("key.pem"), cert)
		n := harness.StartNginx(t, cert, m.Path("key.pem"))
		if got, _ := n.Served(); got != first {
			t.Error("nginx serves another certificate")
		}
		harness.SealKey(t, l, m.InSource("key.pem.cipher"), 4096)
		harness.Eventually(t, "the longer key", func() bool {
			st, err := os.Stat(m.Path("key.pem"))
			return err == nil && st.Size() > int64(len(text))
		})
		second := harness.Certificate(t, m.Path("key.pem"), cert)
		n.Reload(t)
		n.Until(t, "new certificate", func() bool { got, _ := n.Served(); return got == second })

		harness.Put(t, m.InSource("late.cipher"), harness.Seal(t, l, "late"))
		if _, err := l.Kmsfs(nil, "disable-key", keyID); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"late", "key.pem"} { // the refusal is of the key version
			if b, err := os.ReadFile(m.Path(name)); !errors.Is(err, syscall.EKEYREVOKED) {
				t.Errorf("%s: %d bytes, %v; want EKEYREVOKED", name, len(b), err)
			}
		}
	})
}

// With the console's switch off a key of an instance can be used at the
// instance's own endpoint, by whoever trusts its authority.
func TestInstanceEndpointServesWhoTrustsItsAuthority(t *testing.T) {
	l, _ := harness.NewLabGeneration3(t, "--instance-listen", "127.0.0.1:0", "--internet-access", "off")
	at := func(endpoint, ca, input string, args ...string) (string, error) {
		cmd := l.Command(args...)
		cmd.Env = append(cmd.Env, "KMSFS_ENDPOINT="+endpoint, "KMSFS_CA_FILE="+ca)
		cmd.Stdin = strings.NewReader(input)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return stderr.String(), err
		}
		return string(out), nil
	}
	blob, err := at(l.InstanceEndpoint, l.InstanceCAFile, "secret", "encrypt", "--key", lab.Alias, "-")
	if err != nil {
		t.Fatalf("%v\n%s", err, blob)
	}
	// Its authority is one that only tests may trust.
	guarded := l.Command("decrypt", "-")
	guarded.Env = append(guarded.Env, "KMSFS_ENDPOINT="+l.InstanceEndpoint, "KMSFS_CA_FILE="+l.InstanceCAFile, "KMSFS_ALLOW_EMULATOR=")
	guarded.Stdin = strings.NewReader(blob)
	if out, err := guarded.CombinedOutput(); err == nil || !strings.Contains(string(out), "TEST ONLY") {
		t.Errorf("without leave: %v\n%s", err, out)
	}
	for _, c := range []struct {
		name, endpoint, ca, want string
		on, ok                   bool
	}{
		{"the instance", l.InstanceEndpoint, l.InstanceCAFile, "secret", false, true},
		{"shared, switched off", l.Endpoint, l.CAFile, "UnsupportedOperation", false, false},
		{"shared, switched on", l.Endpoint, l.CAFile, "secret", true, true},
		{"the instance, by the other authority", l.InstanceEndpoint, l.CAFile, "certificate", true, false},
		{"shared, by the other authority", l.Endpoint, l.InstanceCAFile, "certificate", true, false},
	} {
		if err := l.SetInternetAccess(c.on); err != nil {
			t.Fatal(err)
		}
		out, err := at(c.endpoint, c.ca, blob, "decrypt", "-")
		if (err == nil) != c.ok || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}
}
