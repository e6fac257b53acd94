package invalidate

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slowKernel takes its time for a notification, as one does that waits for a
// READ.
type slowKernel struct {
	takes time.Duration
	sent  atomic.Int32
}

func (k *slowKernel) EntryNotify(uint64, string) error { return k.InodeNotify(0, 0, 0) }

func (k *slowKernel) InodeNotify(uint64, int64, int64) error {
	time.Sleep(k.takes)
	k.sent.Add(1)
	return nil
}

// Nothing is being notified when quiesce returns true, and nothing is from then
// on, until it is taken back.
func TestNothingIsNotifiedAfterQuiesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &slowKernel{takes: 3 * time.Second}
		n := &Notifications{to: k}
		for range 4 {
			go n.InodeNotify(1, 0, 0)
			go n.EntryNotify(1, "x")
		}
		synctest.Wait()
		begun := time.Now()
		if !n.Quiesce(10*time.Second) || time.Since(begun) != 3*time.Second || k.sent.Load() != 8 {
			t.Errorf("after %v, %d sent", time.Since(begun), k.sent.Load())
		}
		if n.InodeNotify(1, 0, 0) != later || n.EntryNotify(1, "x") != later || k.sent.Load() != 8 {
			t.Error("something is notified after quiesce")
		}
		n.Open()
		if n.InodeNotify(1, 0, 0) != nil {
			t.Error("nothing is notified after open")
		}
	})
}

// Whoever notifies all the time does not keep quiesce from its end, and one
// notification that does not end does, without a consequence.
func TestQuiesceEndsUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Notifications{to: &slowKernel{takes: time.Second}}
		end := make(chan struct{})
		for i := range 3 {
			go func() {
				time.Sleep(time.Duration(i) * 300 * time.Millisecond)
				for {
					select {
					case <-end:
						return
					default:
						if n.InodeNotify(1, 0, 0) == later {
							time.Sleep(dropAgain)
						}
					}
				}
			}()
		}
		time.Sleep(5 * time.Second)
		begun := time.Now()
		if !n.Quiesce(4*time.Second) || time.Since(begun) > 4*time.Second {
			t.Errorf("no moment of peace in %v", time.Since(begun))
		}
		close(end)
		n.Open()
		time.Sleep(2 * time.Second)

		stuck := &Notifications{to: &slowKernel{takes: time.Minute}}
		go stuck.InodeNotify(1, 0, 0)
		synctest.Wait()
		begun = time.Now()
		if stuck.Quiesce(4*time.Second) || time.Since(begun) != 4*time.Second {
			t.Errorf("quiet after %v", time.Since(begun))
		}
		go stuck.InodeNotify(1, 0, 0)
		synctest.Wait()
		stuck.mu.Lock()
		if stuck.inFlight != 2 {
			t.Error("closed after a quiesce that failed")
		}
		stuck.mu.Unlock()
		time.Sleep(2 * time.Minute)
	})
}

// Pages that cannot be dropped at the moment keep their date, and are dropped
// later.
func TestDropDuringQuiesceIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &slowKernel{}
		n := &Notifications{to: k}
		p := NewPages()
		p.Start(n, nil)
		p.DropAt(1, Plaintext{}, time.Second)
		if !n.Quiesce(time.Second) {
			t.Fatal("not quiet")
		}
		time.Sleep(2 * time.Second)
		if k.sent.Load() != 0 || p.Left(1) != 0 {
			t.Errorf("%d sent, %v left", k.sent.Load(), p.Left(1))
		}
		n.Open()
		time.Sleep(dropAgain)
		synctest.Wait()
		if k.sent.Load() != 1 {
			t.Errorf("%d sent after all", k.sent.Load())
		}
		p.Close()
	})
}
