package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kmsfs/kmsfs/cache/secmem"
)

// The cache against a model that is too simple to be wrong: a list in the
// order of use, and arithmetic on two clocks. Time is the bubble's, to which
// suspends and settings of the wall clock are added.

const (
	modelTTL      = 10 * time.Second
	modelRemember = 3 * time.Second
	modelMax      = 1024
)

// op is one step of a drawn program.
type op struct {
	Do   string
	Key  int
	Size int
	D    time.Duration // how long it takes, or by how much
	Fail bool
}

var ops = rapid.Custom(func(t *rapid.T) op {
	return op{
		Do:   rapid.SampledFrom([]string{"get", "get", "get", "get", "get", "release", "release", "wait", "wait", "suspend", "set clock", "purge", "purge group", "purge all"}).Draw(t, "do"),
		Key:  rapid.IntRange(0, 7).Draw(t, "key"),
		Size: rapid.SampledFrom([]int{0, 1, 64, 65, 200, 256, 500, 1024, 1025}).Draw(t, "size"),
		D:    time.Duration(rapid.IntRange(0, 60).Draw(t, "quarters")) * 250 * time.Millisecond,
		Fail: rapid.IntRange(0, 5).Draw(t, "fail") == 0,
	}
})

func TestAgainstModel(t *testing.T) {
	for range 10 { // some mistakes take a thousand programs to show
		rapid.Check(t, func(rt *rapid.T) {
			program := rapid.SliceOfN(ops, 1, 60).Draw(rt, "program")
			var failed error
			synctest.Test(t, func(t *testing.T) { failed = runModel(t, program) })
			if failed != nil {
				rt.Fatal(failed)
			}
		})
	}
}

type modelEntry struct {
	key, cell  int
	boot, wall time.Duration
	leases     []*Lease
	fresh      bool
}

type model struct {
	m       machine
	kept    []*modelEntry // by use, the oldest first
	dead    []*modelEntry // but leased
	failed  map[int]*modelEntry
	leased  []*modelEntry // in the order they were taken
	evicted uint64
}

func (m *model) clocks() (boot, wall time.Duration) {
	since := time.Since(m.m.start)
	return since + m.m.asleep, since + m.m.asleep + m.m.step
}

func (m *model) tooOld(e *modelEntry, ttl time.Duration) bool {
	boot, wall := m.clocks()
	return boot-e.boot >= ttl || wall-e.wall >= ttl
}

// kill ends every kept entry that is meant.
func (m *model) kill(meant func(*modelEntry) bool) (n int) {
	m.kept = slices.DeleteFunc(m.kept, func(e *modelEntry) bool {
		if !meant(e) {
			return false
		}
		n++
		e.fresh = false
		if len(e.leases) > 0 {
			m.dead = append(m.dead, e)
		}
		return true
	})
	return n
}

func (m *model) used() (n int) {
	for _, e := range slices.Concat(m.kept, m.dead) {
		n += e.cell
	}
	return n
}

func (m *model) find(k int) int {
	return slices.IndexFunc(m.kept, func(e *modelEntry) bool { return e.key == k })
}

func (m *model) use(i int) *modelEntry {
	e := m.kept[i]
	m.kept = append(slices.Delete(m.kept, i, i+1), e)
	return e
}

func (m *model) evict(need int) bool {
	for spared := 0; m.used()+need > modelMax; {
		if spared == len(m.kept) {
			return false
		}
		e := m.kept[0]
		if len(e.leases) > 0 {
			m.use(0)
			spared++
			continue
		}
		m.kill(func(x *modelEntry) bool { return x == e })
		m.evicted++
		spared = 0
	}
	return true
}

func runModel(t *testing.T, program []op) error {
	memory, err := secmem.New(secmem.Config{Max: 1 << 20})
	if err != nil {
		return err
	}
	c := open(t, Config{TTL: modelTTL, MaxBytes: modelMax, LoadTimeout: time.Minute, Memory: memory,
		Remember: func(err error) time.Duration {
			if errors.Is(err, errRefused) {
				return modelRemember
			}
			return 0
		}})
	m := &model{failed: make(map[int]*modelEntry)}
	m.m.plugInto(c)
	defer func() {
		for _, e := range m.leased {
			e.leases[0].Release()
			e.leases = e.leases[1:]
		}
	}()
	for i, o := range program {
		if err := m.step(t, c, o); err != nil {
			return fmt.Errorf("step %d, %+v: %w", i, o, err)
		}
		m.kill(func(e *modelEntry) bool { return m.tooOld(e, modelTTL) })
		synctest.Wait()
		s := c.Stats()
		if s.Entries != len(m.kept) || s.Bytes != m.used() || s.Evictions != m.evicted {
			return fmt.Errorf("step %d, %+v: %+v, the model has %d entries, %d bytes, %d evictions", i, o, s, len(m.kept), m.used(), m.evicted)
		}
		for _, e := range m.leased {
			for _, l := range e.leases {
				checkBytes(t, l)
			}
		}
	}
	return nil
}

func (m *model) step(t *testing.T, c *Cache, o op) error {
	switch o.Do {
	case "get":
		return m.get(t, c, o)
	case "release":
		if len(m.leased) > 0 {
			i := o.Key % len(m.leased)
			e := m.leased[i]
			m.leased = slices.Delete(m.leased, i, i+1)
			e.leases[0].Release()
			e.leases = e.leases[1:]
			m.dead = slices.DeleteFunc(m.dead, func(e *modelEntry) bool { return len(e.leases) == 0 })
		}
	case "wait":
		time.Sleep(o.D)
	case "suspend", "set clock":
		m.m.tamper(c, func(x *machine) {
			switch {
			case o.Do == "suspend":
				x.asleep += o.D
			case o.Fail:
				x.step -= o.D
			default:
				x.step += o.D
			}
		})
		// The timer does not run in suspend: the next call notices.
		time.Sleep(bootEvery)
		c.mu.Lock()
		c.advance()
		c.mu.Unlock()
	case "purge":
		c.Purge(key(o.Key))
		delete(m.failed, o.Key)
		m.kill(func(e *modelEntry) bool { return e.key == o.Key })
	case "purge group":
		c.PurgeGroup(fmt.Sprint(o.Key % 3))
		m.kill(func(e *modelEntry) bool { return e.key%3 == o.Key%3 })
	case "purge all":
		c.PurgeAll()
		clear(m.failed)
		m.kill(func(*modelEntry) bool { return true })
	}
	return nil
}

func (m *model) get(t *testing.T, c *Cache, o op) error {
	// what must happen
	e := &modelEntry{key: o.Key, cell: secmem.CellSize(max(o.Size, 1)), fresh: true}
	e.boot, e.wall = m.clocks()
	i := m.find(o.Key)
	f := m.failed[o.Key]
	if f != nil && m.tooOld(f, modelRemember) {
		f = nil
	}
	mustLoad := i < 0 && f == nil

	loads := 0
	l, err := c.Get(t.Context(), key(o.Key), LoaderFunc(func(context.Context) (Loaded, error) {
		loads++
		time.Sleep(o.D)
		if o.Fail {
			return Loaded{}, errRefused
		}
		return Loaded{Plaintext: pattern(key(o.Key), o.Size), Group: fmt.Sprint(o.Key % 3)}, nil
	}))
	if loads == 1 != mustLoad || loads > 1 {
		return fmt.Errorf("%d loads, error %v; must load: %v", loads, err, mustLoad)
	}
	if !mustLoad {
		if i < 0 {
			if err != errRefused {
				return fmt.Errorf("%v instead of the remembered failure", err)
			}
			return nil
		}
		if err != nil || !l.Hit() {
			return fmt.Errorf("no hit: %v", err)
		}
		e = m.use(i)
		e.leases = append(e.leases, l)
		m.leased = append(m.leased, e)
		return nil
	}
	m.kill(func(e *modelEntry) bool { return m.tooOld(e, modelTTL) })
	delete(m.failed, o.Key)
	switch {
	case o.Fail:
		if err != errRefused {
			return fmt.Errorf("%v instead of the load's error", err)
		}
		f := &modelEntry{}
		f.boot, f.wall = m.clocks()
		m.failed[o.Key] = f
		return nil
	case m.tooOld(e, modelTTL):
		if !errors.Is(err, ErrLate) {
			return fmt.Errorf("%v instead of ErrLate", err)
		}
		return nil
	case e.cell > modelMax || !m.evict(e.cell):
		if !errors.Is(err, ErrFull) {
			return fmt.Errorf("%v instead of ErrFull", err)
		}
		return nil
	case err != nil || l.Hit() || len(l.Bytes()) != o.Size:
		return fmt.Errorf("not served: %v", err)
	}
	e.leases = append(e.leases, l)
	m.leased = append(m.leased, e)
	m.kept = append(m.kept, e)
	return nil
}
