package integration_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// Keys of generation 3 (KMS 3.0), with ids such as key-hzz62f1cb66fa42qo0exa.

// generation3 is a lab whose one key has the shorter id: its version ids have
// 36 characters.
func generation3(t *testing.T, args ...string) (l *lab.Lab, keyID string) {
	t.Helper()
	l = newLab(t, append(args, "--generation", "3")...)
	out, err := l.Kmsfs(nil, "describe-key", lab.Alias)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ KeyMetadata struct{ KeyId string } }
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	keyID = answer.KeyMetadata.KeyId
	if !strings.HasPrefix(keyID, "key-hzz") || len(keyID) != 25 {
		t.Fatalf("the key is %s", keyID)
	}
	return l, keyID
}

// The main job with such a key: a private key that is made into a ciphertext,
// listed with its exact size for no call, read, used by nginx, replaced by a
// longer one, and refused when KMS refuses.
func TestGeneration3(t *testing.T) {
	eachMode(t, func(t *testing.T, mode string) {
		l, keyID := generation3(t)
		m := mount(t, l, "", mode, "ttl=1h")
		keyInto(t, l, m.source("key.pem.cipher"), 2048)

		shown, err := exec.Command("ls", "-l", m.Point).Output()
		if err != nil {
			t.Fatal(err)
		}
		if n := decrypts(t, l); n != 0 {
			t.Errorf("ls -l took %d calls", n)
		}
		text, err := exec.Command("cat", m.path("key.pem")).Output()
		if err != nil || !strings.HasPrefix(string(text), "-----BEGIN PRIVATE KEY-----\n") {
			t.Fatalf("cat printed %d bytes, %v", len(text), err)
		}
		if n := decrypts(t, l); n != 1 {
			t.Errorf("cat took %d calls", n)
		}
		if out, err := l.Kmsfs(nil, "decrypt", m.source("key.pem.cipher")); err != nil || out != string(text) {
			t.Errorf("decrypt gave %d bytes, %v", len(out), err)
		}
		line := strings.Split(strings.TrimSpace(string(shown)), "\n")[1]
		if columns := strings.Fields(line); columns[4] != strconv.Itoa(len(text)) || columns[8] != "key.pem" {
			t.Errorf("%d bytes, ls -l showed %q", len(text), line)
		}

		cert := filepath.Join(t.TempDir(), "cert.pem")
		first := certificate(t, m.path("key.pem"), cert)
		n := startNginx(t, cert, m.path("key.pem"))
		if got, _ := n.served(); got != first {
			t.Error("nginx serves another certificate")
		}
		keyInto(t, l, m.source("key.pem.cipher"), 4096)
		eventually(t, "the longer key", func() bool {
			st, err := os.Stat(m.path("key.pem"))
			return err == nil && st.Size() > int64(len(text))
		})
		second := certificate(t, m.path("key.pem"), cert)
		n.reload(t)
		n.until(t, "new certificate", func() bool { got, _ := n.served(); return got == second })

		put(t, m.source("late.cipher"), seal(t, l, "late"))
		if _, err := l.Kmsfs(nil, "disable-key", keyID); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"late", "key.pem"} { // the refusal is of the key version
			if b, err := os.ReadFile(m.path(name)); !errors.Is(err, syscall.EKEYREVOKED) {
				t.Errorf("%s: %d bytes, %v; want EKEYREVOKED", name, len(b), err)
			}
		}
	})
}

// With the console's switch off a key of an instance can be used at the
// instance's own endpoint, by whoever trusts its authority.
func TestInstanceEndpoint(t *testing.T) {
	l, _ := generation3(t, "--instance-listen", "127.0.0.1:0", "--internet-access", "off")
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
