package opening_test

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// Five thousand readers of five hundred cold files cost five hundred calls, at
// the rate that the account has, and nobody gets an error.
func TestThunderingHerdCostsACallPerFile(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	const files, readers = 500, 5000
	source := harness.SealMany(t, l, files, "herd")
	harness.Put(t, source+"/warm.cipher", harness.Seal(t, l, "warm"))
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := l.StartEmulator(l.Endpoint, "--qps", "200"); err != nil {
		t.Fatal(err)
	}
	// An admin leaves others some of the quota. It is also what the service's
	// count may lag behind ours.
	m := harness.Mount(t, l, source, "qps=180")
	if got := harness.Read(t, m.Path("warm")); got != "warm" {
		t.Fatalf("reads %q", got)
	}
	if err := l.ResetCalls(); err != nil {
		t.Fatal(err)
	}
	if err := l.Fault(map[string]any{"action": "Decrypt", "delay": "20ms"}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var served atomic.Int32
	start := make(chan struct{})
	for r := range readers {
		wg.Go(func() {
			<-start
			i := r % files
			b, err := os.ReadFile(m.Path(fmt.Sprintf("f%05d", i)))
			if err != nil || string(b) != fmt.Sprint("herd ", i) {
				t.Errorf("reader %d: %q, %v", r, b, err)
				return
			}
			served.Add(1)
		})
	}
	begun := time.Now()
	close(start)
	wg.Wait()
	took := time.Since(begun)
	calls := harness.Decrypts(t, l)
	t.Logf("%d readers of %d cold files: %v, %d calls, %d served; the rate alone takes %v", readers, files, took, calls, served.Load(),
		time.Duration(files-180)*time.Second/180)
	if calls != files {
		t.Errorf("%d calls, want %d", calls, files)
	}
	if took > time.Minute {
		t.Errorf("it took %v", took)
	}
}
