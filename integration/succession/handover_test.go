package succession_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// someSecrets makes a source of n files and returns what they read as.
func someSecrets(t testing.TB, l *lab.Lab, n int) (source string, plaintext map[string]string) {
	t.Helper()
	source, plaintext = t.TempDir(), map[string]string{}
	for i := range n {
		name := fmt.Sprintf("secret%d", i)
		plaintext[name] = harness.Lengthy(name, 1000+300*i)
		harness.Put(t, filepath.Join(source, name+".cipher"), harness.Seal(t, l, plaintext[name]))
	}
	return source, plaintext
}

func want(plaintext map[string]string, h *harness.Background) map[string]string {
	want := map[string]string{}
	for name, text := range plaintext {
		want[h.Path(name)] = text
	}
	return want
}

// A server that is killed is followed by another one, and readers see nothing
// but a short wait. nginx reloads meanwhile, and never misses its key.
func TestServerKilledUnderLoad(t *testing.T) { harness.EachMode(t, testServerKilledUnderLoad) }

func testServerKilledUnderLoad(t *testing.T, mode string) {
	l := harness.NewLab(t)
	source, plaintext := someSecrets(t, l, 8)
	harness.SealKey(t, l, filepath.Join(source, "key.pem.cipher"), 2048)
	h := harness.InBackground(t, l, source, mode+",ttl=2s,qps=1000")
	plaintext["key.pem"] = harness.Read(t, h.Path("key.pem"))
	cert := filepath.Join(t.TempDir(), "cert.pem")
	first := harness.Certificate(t, h.Path("key.pem"), cert)
	n := harness.StartNginx(t, cert, h.Path("key.pem"))
	w := harness.StartLoad(t, 6, want(plaintext, h))
	kills := harness.Repetitions(25, 500)
	holder, server := h.PIDs()
	for i := range kills {
		time.Sleep(time.Duration(350+rand.IntN(100)) * time.Millisecond) // the pace of deaths, not a wait for anything
		if i%5 == 0 {
			n.Reload(t)
		}
		if err := syscall.Kill(server, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		server = h.ServerOtherThan(t, server)
	}
	if failed := w.Report(t, fmt.Sprint(kills, " kills")); failed > harness.Repetitions(1, 3) {
		t.Errorf("%d reads failed", failed)
	}
	if got, ok := n.Served(); !ok || got != first {
		t.Error("nginx does not serve its certificate any more")
	}
	if log := harness.Read(t, filepath.Join(n.Dir, "log")); strings.Contains(log, "[emerg]") {
		t.Errorf("nginx could not reload:\n%s", log)
	}
	if now, _ := h.PIDs(); now != holder {
		t.Errorf("the holder was %d and is %d", holder, now)
	}
	const death = "msg=\"server died ("           // of the signal; or "killed, but a thread of it waits"
	harness.WaitLines(t, h.LogFile, death, kills) // the last one is written once the successor is there
	if got := strings.Count(harness.WithoutOpens(harness.Read(t, h.LogFile)), death); got != kills {
		t.Errorf("the log tells of %d deaths, not of %d", got, kills)
	}
	h.Umount(t, l)
}

// A server that is asked to hands over to the program on disk, and not one
// read fails.
func TestServerUpgradedUnderLoad(t *testing.T) { harness.EachMode(t, testServerUpgradedUnderLoad) }

func testServerUpgradedUnderLoad(t *testing.T, mode string) {
	l := harness.NewLab(t)
	source, plaintext := someSecrets(t, l, 8)
	h := harness.InBackground(t, l, source, mode+",ttl=2s,qps=1000")
	w := harness.StartLoad(t, 6, want(plaintext, h))
	upgrades := harness.Repetitions(10, 100)
	_, server := h.PIDs()
	for n := range upgrades {
		time.Sleep(time.Duration(50+rand.IntN(100)) * time.Millisecond) // the pace of upgrades, not a wait for anything
		if err := syscall.Kill(server, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		harness.WaitLines(t, h.LogFile, "successor took over", n+1)
	}
	if failed := w.Report(t, fmt.Sprint(upgrades, " upgrades")); failed > 0 {
		t.Errorf("%d reads failed", failed)
	}
	if out, err := l.Kmsfs(nil, "status", h.Point); err != nil || !strings.Contains(out, strconv.Itoa(server)) {
		t.Errorf("status after an upgrade: %v\n%s", err, out)
	}
	if _, now := h.PIDs(); now != server {
		t.Errorf("the server was %d and is %d", server, now)
	}
	h.Umount(t, l)
}
