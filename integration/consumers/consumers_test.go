package consumers_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// consumer is a real program that serves with a private key from a mount.
type consumer struct {
	name    string
	options string // of the mount
	start   func(t *testing.T, m *harness.Mounted) *server

	says    string // what it says of a reload that KMS made fail, if not the text of the errno
	exits   bool   // it does not survive such a reload
	workers bool   // all of its children serve, and stay when a reload fails
}

// server is a consumer that runs.
type server struct {
	*harness.Daemon
	served func() (string, bool) // the certificate whose key it has
	reload func(t *testing.T)    // asks for it, and does not wait
}

// reloads asks for a reload and waits for what it should do. It asks again
// after a while: haproxy's master, which starts itself anew each time, is deaf
// until it has.
func (s *server) reloads(t *testing.T, what string, done func() bool) {
	t.Helper()
	var asked time.Time
	s.Until(t, what, func() bool {
		if time.Since(asked) > 2*time.Second && !s.Ended() {
			s.reload(t)
			asked = time.Now()
		}
		return done()
	})
}

// The refusals of KMS and what a program should say then.
var refusals = []struct{ code, errno string }{
	{"Rejected.Disabled", "Key has been revoked"},
	{"Forbidden.NoPermission", "Permission denied"},
}

var consumers = []consumer{
	{name: "nginx", start: nginxServer, workers: true},
	{name: "haproxy", start: haproxyServer, workers: true, says: "cannot open the file"},
	{name: "apache2", start: apacheServer, exits: true},
	{name: "stunnel", start: stunnelServer},
	{name: "redis", start: redisServer},
	{name: "postgres", start: postgresServer, options: "allow_other,uid=postgres,gid=postgres"},
}

// Real servers start with a key and a certificate that are only ciphertext,
// prove in a handshake that they have them, do what the README says when KMS
// refuses at a reload, and take the new ones at the reload after.
func TestServersSurviveARefusal(t *testing.T) {
	harness.NeedMount(t)
	harness.LetOthersPass(t, os.TempDir()) // here, for servers that run as another user: it belongs to all of them
	table := make([]string, len(consumers))
	t.Run("of", func(t *testing.T) {
		for i, c := range consumers {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				table[i] = c.trial(t)
			})
		}
	})
	t.Logf("what a cold start costs, and what a refused reload does:\n%s", strings.Join(table, "\n"))
}

func (c consumer) trial(t *testing.T) string {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", strings.Trim("ttl=1h,"+c.options, ","))
	harness.LetOthersPass(t, m.Point)
	first := deploy(t, l, m)
	if err := l.ResetCalls(); err != nil {
		t.Fatal(err)
	}
	s := c.start(t, m)
	s.Until(t, "handshake", func() bool { _, ok := s.served(); return ok })
	calls := harness.Decrypts(t, l)
	opened := opens(t, l, m)
	if calls != len(opened) {
		t.Errorf("%d calls for %v", calls, opened)
	}
	if got, _ := s.served(); got != first {
		t.Errorf("another certificate than the mount's is served")
	}

	for i, r := range refusals {
		second := deploy(t, l, m)
		if err := l.Fault(map[string]any{"action": "Decrypt", "code": r.code}); err != nil {
			t.Fatal(err)
		}
		workers, said := s.Children(), len(s.Log())
		says := cmp.Or(c.says, r.errno)
		s.reloads(t, "word of "+says, func() bool { return strings.Contains(s.Log()[said:], says) })
		if c.exits {
			s.End(t)
		}
		if !c.exits {
			if got, _ := s.served(); got != first {
				t.Errorf("after a refused reload another certificate is served")
			}
			// Later on, workers of before a good reload may still be on their way out.
			if now := s.Children(); c.workers && i == 0 && (len(workers) == 0 || !slices.Equal(now, workers)) {
				t.Errorf("a refused reload made workers %v of %v", now, workers)
			}
		}
		if err := l.ClearFaults(); err != nil {
			t.Fatal(err)
		}
		readable(t, m, "key.pem", "cert.pem", "both.pem")
		renewed := func() bool { got, _ := s.served(); return got == second }
		if c.exits {
			s = c.start(t, m)
			s.Until(t, "new certificate", renewed)
		} else {
			s.reloads(t, "new certificate", renewed)
		}
		first = second
	}
	result := "keeps what it had"
	if c.exits {
		result = "exits"
	}
	return fmt.Sprintf("%-9s %d Decrypt calls, opens %v; %s, says %q", c.name, calls, opened, result, cmp.Or(c.says, "(the errno's text)"))
}

// In open=fast they start, and take the new key and certificate, as well.
func TestServersRotateInFast(t *testing.T) {
	harness.NeedMount(t)
	harness.LetOthersPass(t, os.TempDir())
	t.Run("of", func(t *testing.T) {
		for _, c := range consumers {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				l := harness.NewLab(t)
				m := harness.Mount(t, l, "", strings.Trim("open=fast,ttl=1h,"+c.options, ","))
				harness.LetOthersPass(t, m.Point)
				first := deploy(t, l, m)
				s := c.start(t, m)
				s.Until(t, "handshake", func() bool { _, ok := s.served(); return ok })
				if got, _ := s.served(); got != first {
					t.Error("another certificate than the mount's is served")
				}
				second := deploy(t, l, m)
				harness.WaitRead(t, m.Path("cert.pem"), second) // the last one of them
				s.reloads(t, "new certificate", func() bool { got, _ := s.served(); return got == second })
			})
		}
	})
}

// opens counts the opens of each file until now. The log is written behind
// them, in their order, so it is read up to an open of our own.
func opens(t *testing.T, l *lab.Lab, m *harness.Mounted) map[string]int {
	t.Helper()
	harness.Put(t, m.InSource("last.cipher"), harness.Seal(t, l, "last"))
	harness.Read(t, m.Path("last"))
	m.WaitLog(t, "msg=open ", "path=last.cipher")
	counts := map[string]int{}
	for line := range strings.Lines(m.Log()) {
		_, rest, isOpen := strings.Cut(line, "msg=open ")
		_, rest, hasPath := strings.Cut(rest, " path=")
		if path, _, _ := strings.Cut(rest, " "); isOpen && hasPath && path != "last.cipher" {
			counts[path]++
		}
	}
	return counts
}

// deploy makes a key and a certificate and puts them into a mount's source,
// apart and in one file. It returns the certificate.
func deploy(t *testing.T, l *lab.Lab, m *harness.Mounted) string {
	t.Helper()
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-subj", "/CN=localhost", "-days", "1", "-keyout", "-", "-out", "-").Output()
	if err != nil {
		t.Fatalf("openssl req: %v", err)
	}
	at := strings.Index(string(out), "-----BEGIN CERTIFICATE-----")
	key, cert := string(out[:at]), string(out[at:])
	if !strings.HasPrefix(key, "-----BEGIN PRIVATE KEY-----") {
		t.Fatal("openssl printed no private key")
	}
	harness.Put(t, m.InSource("both.pem.cipher"), harness.Seal(t, l, cert+key))
	harness.Put(t, m.InSource("key.pem.cipher"), harness.Seal(t, l, key))
	harness.Put(t, m.InSource("cert.pem.cipher"), harness.Seal(t, l, cert))
	return cert
}

// readable waits until files can be read again: what failed is left alone for
// a moment.
func readable(t *testing.T, m *harness.Mounted, names ...string) {
	t.Helper()
	for _, name := range names {
		harness.Eventually(t, name+" can be read", func() bool { return canRead(m.Path(name)) }, m.Tail)
	}
}

func canRead(path string) bool {
	_, err := os.ReadFile(path)
	return err == nil
}
