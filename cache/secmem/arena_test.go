package secmem

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	asChild()
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, max int) *Arena {
	t.Helper()
	a, err := New(Config{Max: max})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if s := a.Stats(); s != (Stats{}) {
			t.Errorf("after Close: %+v", s)
		}
	})
	return a
}

func alloc(t testing.TB, a *Arena, n int) []byte {
	t.Helper()
	b, err := a.Alloc(n)
	if err != nil {
		t.Fatalf("Alloc(%d): %v", n, err)
	}
	return b
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

func TestCellSize(t *testing.T) {
	for n, want := range map[int]int{
		-1: 0, 0: 0, 1: 64, 64: 64, 65: 128, 1700: 2048, 2048: 2048, 2049: 4096,
		chunkSize: chunkSize, chunkSize + 1: chunkSize + pageSize, math.MaxInt: math.MaxInt, math.MaxInt - 1: math.MaxInt,
	} {
		if got := CellSize(n); got != want {
			t.Errorf("%d bytes take %d, want %d", n, got, want)
		}
	}
}

func TestAllocAndFree(t *testing.T) {
	a := open(t, 4<<20)
	b := alloc(t, a, 1700)
	if len(b) != 1700 || cap(b) != 1700 || !allZero(b) {
		t.Errorf("len %d, cap %d, zero %v", len(b), cap(b), allZero(b))
	}
	if s := a.Stats(); s.Used != 2048 || s.Mapped != chunkSize {
		t.Errorf("%+v", s)
	}
	for i := range b {
		b[i] = 0xA5
	}
	a.Free(b) // the chunk stays mapped: it is the one that may be empty
	if !allZero(b) {
		t.Error("Free did not wipe")
	}
	if empty := alloc(t, a, 0); len(empty) != 0 {
		t.Error("Alloc(0)")
	} else {
		a.Free(empty)
	}
	for _, n := range []int{-1, 4<<20 + 1, math.MaxInt} {
		if _, err := a.Alloc(n); err == nil {
			t.Errorf("Alloc(%d) succeeded", n)
		}
	}
	if _, err := New(Config{Max: pageSize - 1}); err == nil {
		t.Error("an arena of less than a page")
	}
}

// What the arena did not hand out, it does not take.
func TestWrongFreePanics(t *testing.T) {
	a := open(t, 4<<20)
	pin := alloc(t, a, 1)
	defer a.Free(pin)
	b := alloc(t, a, 1000)
	big := alloc(t, a, chunkSize+1)
	freed := alloc(t, a, 1000)
	a.Free(freed)
	for name, bad := range map[string][]byte{
		"foreign":          make([]byte, 100),
		"freed":            freed,
		"the middle":       b[512:],
		"not the start":    b[1:],
		"a shorter one":    b[:10:10],
		"inside a mapping": big[pageSize:],
	} {
		func() {
			defer func() {
				if msg, _ := recover().(string); !strings.HasPrefix(msg, "secmem: Free of ") {
					t.Errorf("%s: %q", name, msg)
				}
			}()
			a.Free(bad)
		}()
	}
	a.Free(b[:0]) // the capacity tells
	a.Free(big)
}

func TestBound(t *testing.T) {
	max := chunkSize + chunkSize/2 + 3*pageSize
	a := open(t, max+17)
	if a.Max() != max {
		t.Errorf("the bound is %d, want %d", a.Max(), max)
	}
	var all [][]byte
	for {
		b, err := a.Alloc(pageSize)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	if s := a.Stats(); s.Used != max || s.Mapped != max {
		t.Errorf("of %d bytes: %+v", max, s)
	}
	for _, b := range all {
		a.Free(b)
	}
	if s := a.Stats(); s.Mapped > chunkSize {
		t.Errorf("empty chunks stay mapped: %+v", s)
	}
	// A large one, where the empty chunk is in the way.
	a.Free(alloc(t, a, max))
}

func TestCloseWithMemoryOut(t *testing.T) {
	a, err := New(Config{Max: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	b := alloc(t, a, 100)
	b[0] = 1
	if err := a.Close(); err == nil {
		t.Error("no error")
	}
	if b[0] != 1 {
		t.Error("wiped under a reader")
	}
	if _, err := a.Alloc(1); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	a.Free(b)
	if s := a.Stats(); s != (Stats{}) {
		t.Errorf("%+v", s)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// Any order of taking and giving back: what is handed out is zero, belongs to
// one owner, and keeps what its owner wrote; when all is back, halves are whole
// again.
func TestCells(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, err := New(Config{Max: 2*chunkSize + 5*pageSize})
		if err != nil {
			t.Fatal(err)
		}
		type owned struct {
			b    []byte
			mark byte
		}
		var out []owned
		used, mark := 0, byte(0)
		check := func(o owned) {
			for _, x := range o.b {
				if x != o.mark {
					t.Fatalf("%d bytes of owner %d hold %d", len(o.b), o.mark, x)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				n := rapid.OneOf(rapid.IntRange(1, 5000), rapid.IntRange(1, 2*chunkSize)).Draw(t, "n")
				b, err := a.Alloc(n)
				if errors.Is(err, ErrFull) {
					return
				}
				if err != nil || len(b) != n || !allZero(b) {
					t.Fatalf("%d bytes, zero %v: %v", len(b), allZero(b), err)
				}
				mark = max(mark+1, 1)
				for i := range b {
					b[i] = mark
				}
				out = append(out, owned{b, mark})
				used += CellSize(n)
			},
			"give": func(t *rapid.T) {
				if len(out) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(out)-1).Draw(t, "i")
				check(out[i])
				a.Free(out[i].b)
				used -= CellSize(len(out[i].b))
				out = append(out[:i], out[i+1:]...)
			},
			"": func(t *rapid.T) {
				if s := a.Stats(); s.Used != used || s.Mapped > a.Max() || s.Used > s.Mapped {
					t.Fatalf("%+v, want %d used of %d", s, used, a.Max())
				}
				for _, c := range a.chunks {
					checkChunk(t, c)
				}
			},
		})
		for _, o := range out {
			check(o)
			a.Free(o.b)
		}
		for _, c := range a.chunks {
			if !c.empty() || !allZero(c.mem) {
				t.Fatalf("all is back, and a chunk is empty %v, zero %v", c.empty(), allZero(c.mem))
			}
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// checkChunk proves the tree: an inner node is 0 because it is handed out, or
// whole because both halves are, or the larger of its halves.
func checkChunk(t *rapid.T, c *chunk) {
	var visit func(i int, o uint8)
	visit = func(i int, o uint8) {
		if c.free[i] == o || 2*i+1 >= len(c.free) {
			return
		}
		l, r := c.free[2*i+1], c.free[2*i+2]
		if c.free[i] == 0 && l == o-1 && r == o-1 {
			return
		}
		if c.free[i] != max(l, r) || l == o-1 && r == o-1 {
			t.Fatalf("node %d of order %d holds %d over %d and %d", i, o, c.free[i], l, r)
		}
		visit(2*i+1, o-1)
		visit(2*i+2, o-1)
	}
	if !c.whole() {
		visit(0, order(len(c.mem)))
	}
}

func TestConcurrent(t *testing.T) {
	a := open(t, 1<<20)
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 500 {
				b, err := a.Alloc(1 + (g*i*131)%9000)
				if err != nil {
					continue
				}
				if !allZero(b) {
					t.Error("not zero")
				}
				for j := range b {
					b[j] = byte(g + 1)
				}
				if b[0] != byte(g+1) || b[len(b)-1] != byte(g+1) {
					t.Error("shared")
				}
				a.Free(b)
			}
		})
	}
	wg.Wait()
}

func BenchmarkAllocFree(b *testing.B) {
	a := open(b, 1<<20)
	a.Free(alloc(b, a, 1))
	for b.Loop() {
		m, err := a.Alloc(1700)
		if err != nil {
			b.Fatal(err)
		}
		a.Free(m)
	}
}
