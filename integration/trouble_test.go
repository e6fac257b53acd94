package integration_test

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
)

// With the service gone, mounting works and so does listing; only opens fail.
func TestMountNeedsNoNetwork(t *testing.T) {
	l := newLab(t)
	source := t.TempDir()
	put(t, source+"/a.cipher", seal(t, l, "needs the service"))
	l.KillEmulator()
	m := mount(t, l, source, "timeout=2s")
	if st, err := os.Stat(m.path("a")); err != nil || st.Size() != 17 {
		t.Errorf("stat: %v, %v", st, err)
	}
	if _, err := os.ReadFile(m.path("a")); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("open: %v, want ETIMEDOUT", err)
	}
	if err := l.StartEmulator(l.Endpoint); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service is back", func() bool { // its silence is remembered for a second
		b, err := os.ReadFile(m.path("a"))
		return err == nil && string(b) == "needs the service"
	})
}

// A ciphertext that the service cannot open costs a call every few seconds,
// however often it is opened, and its neighbours nothing: they stay cached.
func TestPoisonedFile(t *testing.T) { eachMode(t, testPoisonedFile) }

func testPoisonedFile(t *testing.T, mode string) {
	l := newLab(t)
	m := mount(t, l, "", mode)
	const good = 50
	for i := range good {
		put(t, m.source("good"+itoa(i)+".cipher"), seal(t, l, "good "+itoa(i)))
	}
	blob, err := base64.StdEncoding.DecodeString(strings.TrimSpace(seal(t, l, "will be damaged")))
	if err != nil {
		t.Fatal(err)
	}
	blob[len(blob)-1] ^= 1
	put(t, m.source("bad.cipher"), base64.StdEncoding.EncodeToString(blob))
	if err := l.ResetCalls(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	end := begun.Add(5 * time.Second)
	var wg sync.WaitGroup
	wg.Go(func() {
		opens := 0
		for tick := time.NewTicker(10 * time.Millisecond); time.Now().Before(end); <-tick.C {
			opens++
			if b, err := os.ReadFile(m.path("bad")); !errors.Is(err, syscall.EBADMSG) {
				t.Errorf("the damaged file: %q, %v; want EBADMSG", b, err)
				return
			}
		}
		if opens < 250 { // of 500: a busy machine misses some
			t.Errorf("only %d opens of the damaged file", opens)
		}
	})
	for range 2 {
		wg.Go(func() {
			for i := 0; time.Now().Before(end); i++ {
				b, err := os.ReadFile(m.path("good" + itoa(i%good)))
				if err != nil || string(b) != "good "+itoa(i%good) {
					t.Errorf("a good file: %q, %v", b, err)
					return
				}
			}
		})
	}
	wg.Wait()
	// A ciphertext that was just written is looked at again, until it is
	// settled; then the failure is remembered for 3 s.
	bad := decrypts(t, l) - good
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
