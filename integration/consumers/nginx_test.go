package consumers_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// nginx serves TLS with a key that exists only as ciphertext, and takes a
// longer key at a reload within the TTL.
func TestNginxTakesALongerKeyAtAReload(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "ttl=1h")
		cert := filepath.Join(t.TempDir(), "cert.pem")
		harness.SealKey(t, l, m.InSource("key.pem.cipher"), 2048)
		if out, err := exec.Command("openssl", "pkey", "-in", m.Path("key.pem"), "-noout", "-check").CombinedOutput(); err != nil {
			t.Fatalf("openssl pkey: %v\n%s", err, out)
		}
		first := harness.Certificate(t, m.Path("key.pem"), cert)
		n := harness.StartNginx(t, cert, m.Path("key.pem"))
		if got, _ := n.Served(); got != first {
			t.Error("nginx serves another certificate")
		}
		out, err := exec.Command("sh", "-c", "openssl s_client -connect "+n.Addr+" </dev/null 2>/dev/null | openssl x509 -noout -pubkey").Output()
		if err != nil {
			t.Fatal(err)
		}
		want, err := exec.Command("openssl", "pkey", "-in", m.Path("key.pem"), "-pubout").Output()
		if err != nil || string(out) != string(want) || !strings.Contains(string(want), "PUBLIC KEY") {
			t.Errorf("the served key is not the mounted one (%v):\n%s%s", err, out, want)
		}

		before, err := os.Stat(m.Path("key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		harness.SealKey(t, l, m.InSource("key.pem.cipher"), 4096)
		after, err := os.Stat(m.Path("key.pem"))
		if err != nil || after.Size() <= before.Size() {
			t.Fatalf("the new key is not longer: %v, %v", after, err)
		}
		second := harness.Certificate(t, m.Path("key.pem"), cert)
		n.Reload(t)
		n.Until(t, "new certificate", func() bool { got, _ := n.Served(); return got == second })
	})
}
