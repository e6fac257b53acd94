package failure_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// With the service gone, mounting works and so does listing; only opens fail.
func TestMountNeedsNoNetwork(t *testing.T) {
	l := harness.NewLab(t)
	source := t.TempDir()
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "needs the service"))
	l.KillEmulator()
	m := harness.Mount(t, l, source, "timeout=2s")
	if st, err := os.Stat(m.Path("a")); err != nil || st.Size() != 17 {
		t.Errorf("stat: %v, %v", st, err)
	}
	if _, err := os.ReadFile(m.Path("a")); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("open: %v, want ETIMEDOUT", err)
	}
	if err := l.StartEmulator(l.Endpoint); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the service is back", func() bool { // its silence is remembered for a second
		b, err := os.ReadFile(m.Path("a"))
		return err == nil && string(b) == "needs the service"
	})
}

// A ciphertext that the service cannot open costs a call every few seconds,
// however often it is opened, and its neighbours nothing: they stay cached.
func TestDamagedFileCostsItsNeighboursNothing(t *testing.T) {
	harness.EachModeAtOnce(t, testPoisonedFile)
}

func testPoisonedFile(t *testing.T, mode string) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", mode)
	const good = 50
	for i := range good {
		harness.Put(t, m.InSource("good"+harness.Itoa(i)+".cipher"), harness.Seal(t, l, "good "+harness.Itoa(i)))
	}
	blob, err := base64.StdEncoding.DecodeString(strings.TrimSpace(harness.Seal(t, l, "will be damaged")))
	if err != nil {
		t.Fatal(err)
	}
	blob[len(blob)-1] ^= 1
	harness.Put(t, m.InSource("bad.cipher"), base64.StdEncoding.EncodeToString(blob))
	if err := l.ResetCalls(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond) // the pace of a reader, not a wait for anything
		for range 400 {
			<-tick.C
			if b, err := os.ReadFile(m.Path("bad")); !errors.Is(err, syscall.EBADMSG) {
				t.Errorf("the damaged file: %q, %v; want EBADMSG", b, err)
				return
			}
		}
	})
	for range 2 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				b, err := os.ReadFile(m.Path("good" + harness.Itoa(i%good)))
				if err != nil || string(b) != "good "+harness.Itoa(i%good) {
					t.Errorf("a good file: %q, %v", b, err)
					return
				}
			}
		})
	}
	wg.Wait()
	// A ciphertext that was just written is looked at again, until it is
	// settled; then the failure is remembered for 3 s.
	bad := harness.Decrypts(t, l) - good
	if most := 2 + int(time.Since(begun)/(3*time.Second)); bad < 1 || bad > most {
		t.Errorf("%d calls for the damaged file, want 1 to %d", bad, most)
	}
	if n := strings.Count(m.Log(), "path=good"); n < good {
		t.Errorf("%d records of good files", n)
	}
	for line := range bytes.Lines([]byte(m.Log())) {
		if bytes.Contains(line, []byte("path=good")) && !bytes.Contains(line, []byte("result=ok")) && !bytes.Contains(line, []byte(`result="4=`)) { // the runtime's signals
			t.Errorf("%s", line)
		}
	}
}
