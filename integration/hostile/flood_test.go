package hostile_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// floodChild opens every file of a directory, all at once.
var floodChild = harness.NewChild("flood", func(dir string) {
	var wg sync.WaitGroup
	for i := range floodSize {
		wg.Go(func() {
			if f, err := os.Open(filepath.Join(dir, fmt.Sprintf("f%05d", i))); err == nil {
				f.Close()
			}
		})
	}
	fmt.Println("flooding")
	wg.Wait()
})

const floodSize = 1000

// While another user has a thousand cold files waiting, which takes the
// mount's rate 20 s, root's cold opens are served in their turn; and the
// service never sees more than the rate.
func TestFloodDoesNotDelayRoot(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	source := harness.SealMany(t, l, floodSize, "flood")
	for i := range 5 {
		harness.Put(t, fmt.Sprintf("%s/root%d.cipher", source, i), harness.Seal(t, l, fmt.Sprint("root ", i)))
	}
	m := harness.Mount(t, l, source, "allow_other,file_mode=0444,dir_mode=0555,timeout=8s")
	harness.LetOthersPass(t, m.Point)
	if err := l.ResetCalls(); err != nil {
		t.Fatal(err)
	}

	flood := floodChild.Command(m.Point)
	flood.Path = harness.OtherUsersProgram(t)
	flood.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	out, err := flood.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := flood.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { flood.Process.Kill(); flood.Wait() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "flooding\n" {
		t.Fatalf("%q, %v", line, err)
	}
	harness.Eventually(t, "the flood's burst is used up", func() bool { return harness.Decrypts(t, l) >= 60 })
	for i := range 5 {
		opened := time.Now()
		if got := harness.Read(t, m.Path(fmt.Sprint("root", i))); got != fmt.Sprint("root ", i) {
			t.Errorf("root %d reads %q", i, got)
		}
		if d := time.Since(opened); d > 2*time.Second {
			t.Errorf("root's open %d took %v", i, d)
		}
	}
	calls, passed := harness.Decrypts(t, l), time.Since(begun)
	if most := 50 + 50*passed.Seconds() + 5; float64(calls) > most {
		t.Errorf("%d calls in %v, more than 50 a second", calls, passed)
	}
	if calls >= floodSize {
		t.Error("the flood was over before root came")
	}
}
