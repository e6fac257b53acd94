package invalidate

import (
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmsfs/kmsfs/cache"
)

// journal is one with room for some nodes.
type journal struct {
	room int

	mu    sync.Mutex
	paged map[uint64]bool
}

func (j *journal) Page(id uint64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.paged[id] && len(j.paged) == j.room {
		return false
	}
	j.paged[id] = true
	return true
}

func (j *journal) Unpage(id uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.paged, id)
}

// nodes are those that a successor would hear of.
func (j *journal) nodes() []uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Sorted(maps.Keys(j.paged))
}

var (
	first  = Plaintext{Key: cache.Key{1}, Group: "v1"}
	second = Plaintext{Key: cache.Key{2}, Group: "v1"}
	third  = Plaintext{Key: cache.Key{3}, Group: "v2"}
)

// Pages go when the time of their plaintext is over, by the earliest of its dates;
// until then the journal has their node.
func TestPagesGoWithTheirPlaintext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, j, p := &kernel{}, &journal{room: 9, paged: map[uint64]bool{}}, NewPages()
		p.Start(k, j)
		defer p.Close()
		if p.Left(7) != math.MaxInt64 {
			t.Error("a node without pages has a date")
		}
		p.DropAt(7, first, 10*time.Second)
		p.DropAt(7, first, 20*time.Second) // later: no matter
		p.DropAt(8, second, 30*time.Second)
		p.DropAt(8, second, 5*time.Second) // earlier
		if p.Left(7) != 10*time.Second || p.Left(8) != 5*time.Second || !slices.Equal(j.nodes(), []uint64{7, 8}) {
			t.Errorf("%v and %v left, journal %v", p.Left(7), p.Left(8), j.nodes())
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if told := k.told(); !slices.Equal(told, []inode{{8, 0, 0}}) || !slices.Equal(j.nodes(), []uint64{7}) {
			t.Errorf("dropped after 5 s: %v, journal %v", told, j.nodes())
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if told := k.told(); !slices.Equal(told, []inode{{7, 0, 0}}) || len(j.nodes()) != 0 {
			t.Errorf("dropped after 10 s: %v, journal %v", told, j.nodes())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if told := k.told(); told != nil {
			t.Errorf("dropped again: %v", told)
		}
	})
}

// A node that a successor would not hear of has no pages for long.
func TestPagesThatTheJournalHasNoRoomForGoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p := &kernel{}, NewPages()
		p.Start(k, &journal{room: 1, paged: map[uint64]bool{}})
		defer p.Close()
		p.DropAt(7, first, time.Hour)
		p.DropAt(8, second, time.Hour)
		synctest.Wait()
		if told := k.told(); !slices.Equal(told, []inode{{8, 0, 0}}) {
			t.Errorf("dropped: %v", told)
		}
	})
}

// What may not be served any more takes its pages along, and no others.
func TestPagesOfWhatIsDeadGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p := &kernel{}, NewPages()
		p.Start(k, nil)
		defer p.Close()
		for id, from := range []Plaintext{first, second, third} {
			p.DropAt(uint64(id+1), from, time.Hour)
		}
		p.DropIf(func(from Plaintext) bool { return from.Group == "v1" })
		synctest.Wait()
		told := k.told()
		slices.SortFunc(told, func(a, b inode) int { return int(a.id) - int(b.id) })
		if !slices.Equal(told, []inode{{1, 0, 0}, {2, 0, 0}}) || p.Left(3) != time.Hour {
			t.Errorf("dropped: %v, %v left of the third", told, p.Left(3))
		}
		p.DropIf(func(from Plaintext) bool { return from.Key == third.Key })
		synctest.Wait()
		if told := k.told(); !slices.Equal(told, []inode{{3, 0, 0}}) {
			t.Errorf("dropped: %v", told)
		}
	})
}

// A plaintext that dies between the look at its time and the date of its pages is
// seen by a second look.
func TestPlaintextThatDiesMeanwhileTakesItsPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p := &kernel{}, NewPages()
		p.Start(k, nil)
		defer p.Close()
		looks := 0
		p.DropWith(7, first, func() time.Duration {
			looks++
			return time.Hour * time.Duration(2-looks)
		})
		synctest.Wait()
		if told := k.told(); looks != 2 || !slices.Equal(told, []inode{{7, 0, 0}}) {
			t.Errorf("%d looks, dropped: %v", looks, told)
		}
		p.DropWith(8, first, func() time.Duration { return time.Hour })
		synctest.Wait()
		if told := k.told(); told != nil || p.Left(8) != time.Hour {
			t.Errorf("dropped: %v, %v left", told, p.Left(8))
		}
	})
}

// To forget attributes touches no page. After the end nothing is told, and nothing
// is dated.
func TestNothingIsToldAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p := &kernel{}, NewPages()
		p.Start(k, nil)
		p.ForgetAttr(7)
		if told := k.told(); !slices.Equal(told, []inode{{7, -1, 0}}) {
			t.Errorf("told: %v", told)
		}
		p.DropAt(7, first, time.Second)
		p.Close()
		p.DropAt(8, second, 0)
		p.ForgetAttr(7)
		p.DropIf(func(Plaintext) bool { return true })
		p.DropInherited()
		time.Sleep(time.Minute)
		synctest.Wait()
		if told := k.told(); told != nil {
			t.Errorf("told: %v", told)
		}
	})
}

// Several notifications wait at a time, and no more than that.
func TestAFewNotificationsWaitAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most, done atomic.Int32
		all := make([]int, 100)
		begun := time.Now()
		ForEach(all, func(int) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second)
			now.Add(-1)
			done.Add(1)
		})
		if done.Load() != 100 || most.Load() != atOnce || time.Since(begun) != 13*time.Second {
			t.Errorf("%d done, %d at once, in %v", done.Load(), most.Load(), time.Since(begun))
		}
		ForEach(nil, func(int) { t.Error("there is none") })
	})
}

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
	p.Await(7, func() { t.Error("nothing was inherited") })
	p.Inherit([]uint64{7, 8})
	go p.DropInherited()
	p.Await(9, func() { t.Error("nobody has pages of that one") })
	var once sync.Once
	p.Await(7, func() { once.Do(func() { close(kernel) }) })
	p.Await(8, func() { once.Do(func() { close(kernel) }) })
	p.Close()
}
