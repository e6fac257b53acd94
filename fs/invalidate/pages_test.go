package invalidate

import (
	"sync"
	"testing"
)

// notYet is a kernel that drops no pages before somebody reads: the READ that it
// waits for may not have been read yet.
type notYet chan struct{}

func (notYet) EntryNotify(uint64, string) error { return nil }

func (reads notYet) InodeNotify(uint64, int64, int64) error {
	<-reads
	return nil
}

// Whoever waits for pages of a predecessor's time lets another one read before:
// they are not dropped before a READ is answered.
func TestInheritedPagesDoNotStopTheReading(t *testing.T) {
	p := NewPages()
	kernel := make(notYet)
	p.Start(kernel, nil)
	p.Inherit([]uint64{7, 8})
	go p.DropInherited()
	p.Await(9, func() { t.Error("nobody has pages of that one") })
	var once sync.Once
	p.Await(7, func() { once.Do(func() { close(kernel) }) })
	p.Await(8, func() { once.Do(func() { close(kernel) }) })
	p.Close()
}
