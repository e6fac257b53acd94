package failure_test

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// An outage, or a refusal, costs nobody twice.

const (
	outageTimeout = 3 * time.Second
	// outageSlack is how much longer a read may take on a busy machine.
	outageSlack = 2 * time.Second
	// atOnce is a read that waits for no call.
	atOnce = time.Second
)

// waysToBeAway are how the service goes away and comes back, and how many reads, one
// after the other, wait before the others fail at once.
var waysToBeAway = []struct {
	name   string
	begin  func(testing.TB, *lab.Lab)
	end    func(testing.TB, *lab.Lab)
	waited int
}{
	{"refused", func(_ testing.TB, l *lab.Lab) { l.KillEmulator() }, func(t testing.TB, l *lab.Lab) {
		if err := l.StartEmulator(l.Endpoint); err != nil {
			t.Fatal(err)
		}
	}, 1},
	{"silent", func(t testing.TB, l *lab.Lab) { harness.Fault(t, l, map[string]any{"hang": true}) }, harness.Mend, 3},
}

// While the service is away, a reader who opens one file after the other waits
// for the first ones, never longer than the timeout, and then no more. When it
// is back that is noticed within seconds.
func TestReaderWaitsForTheFirstFilesOfAnOutageOnly(t *testing.T) {
	t.Parallel() // it waits much more than it works
	harness.EachModeAtOnce(t, func(t *testing.T, mode string) {
		for _, o := range waysToBeAway {
			t.Run(o.name, func(t *testing.T) {
				l := harness.NewLab(t)
				m := harness.Mount(t, l, "", mode, "timeout="+outageTimeout.String())
				const files = 8
				for i := range files {
					harness.Put(t, m.InSource(fmt.Sprint(i, ".cipher")), harness.Seal(t, l, fmt.Sprint("secret ", i)))
				}
				o.begin(t, l)
				waited, longest := 0, time.Duration(0)
				for i := range files {
					begun := time.Now()
					b, err := os.ReadFile(m.Path(fmt.Sprint(i)))
					took := time.Since(begun)
					if err == nil || !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ETIMEDOUT) {
						t.Errorf("file %d: %q, %v", i, b, err)
					}
					if longest = max(longest, took); took > atOnce {
						waited++
					}
				}
				if longest > outageTimeout+outageSlack || waited > o.waited {
					t.Errorf("%d files were waited for, at most %v", waited, longest)
				}
				begun := time.Now()
				if b, err := os.ReadFile(m.Path("0")); err == nil || time.Since(begun) > outageTimeout+outageSlack {
					t.Errorf("again: %q, %v after %v", b, err, time.Since(begun))
				}
				o.end(t, l)
				begun = time.Now()
				harness.Eventually(t, "the service is back", func() bool { b, _ := os.ReadFile(m.Path("0")); return string(b) == "secret 0" })
				if took := time.Since(begun); took > 8*time.Second {
					t.Errorf("that was noticed after %v", took)
				}
				t.Logf("%s, %s: %d of %d files were waited for, at most %v; back after %v", mode, o.name, waited, files, longest, time.Since(begun))
			})
		}
	})
}

// Whoever reads what KMS refuses, again and again, spends a call a second.
func TestRefusalInALoopCostsACallASecond(t *testing.T) {
	t.Parallel() // it waits much more than it works
	harness.EachModeAtOnce(t, func(t *testing.T, mode string) {
		for code, want := range map[string]syscall.Errno{
			"Forbidden.NoPermission": syscall.EACCES, "Rejected.Disabled": syscall.EKEYREVOKED, "InvalidAccessKeyId.NotFound": syscall.EACCES,
			"UnsupportedOperation": syscall.EACCES, "InvalidParameter": syscall.EBADMSG,
		} {
			l := harness.NewLab(t)
			m := harness.Mount(t, l, "", mode)
			harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "secret"))
			harness.Fault(t, l, map[string]any{"action": "Decrypt", "code": code})
			begun, reads := time.Now(), 0
			n := harness.Cost(t, l, func() {
				for ; time.Since(begun) < 1200*time.Millisecond; reads++ {
					if b, err := os.ReadFile(m.Path("a")); !errors.Is(err, want) {
						t.Fatalf("%s: %q, %v", code, b, err)
					}
				}
			})
			if most := 1 + int(time.Since(begun)/time.Second); n > most || n == 0 {
				t.Errorf("%s: %d reads in %v cost %d calls", code, reads, time.Since(begun), n)
			}
			harness.Mend(t, l)
			harness.Eventually(t, "the refusal is over", func() bool { b, _ := os.ReadFile(m.Path("a")); return string(b) == "secret" })
		}
	})
}

// A call that takes longer than the ttl serves nobody past it, and costs the
// reader no more than the timeout.
func TestAnswerLaterThanTTLServesNobodyPastIt(t *testing.T) {
	t.Parallel() // it waits much more than it works
	harness.EachModeAtOnce(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "ttl=1s", "refresh=0s", "timeout=4s")
		harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "secret"))
		harness.Fault(t, l, map[string]any{"action": "Decrypt", "delay": "1500ms"})
		begun := time.Now()
		if b, err := os.ReadFile(m.Path("a")); err == nil || time.Since(begun) > 4*time.Second+outageSlack {
			t.Errorf("%q, %v after %v", b, err, time.Since(begun))
		}
		harness.Mend(t, l)
		harness.Fault(t, l, map[string]any{"action": "Decrypt", "delay": "1500ms", "count": 1}) // the next attempt is quick
		harness.Eventually(t, "it is served", func() bool { b, _ := os.ReadFile(m.Path("a")); return string(b) == "secret" })
	})
}
