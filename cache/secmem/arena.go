// Package secmem hands out memory for secrets: locked into RAM, left out of
// core dumps, empty in forked children, and wiped when it is given back.
//
// Secrets live in chunks mapped outside the Go heap, so the collector neither
// moves nor copies them. A chunk is cut into power-of-two cells. What never
// goes through here (a string that an SDK made, a socket buffer) is not
// protected by it.
package secmem

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"
)

// ErrFull is returned by Alloc when the bound is reached or the system grants
// no more lockable memory.
var ErrFull = errors.New("secmem: full")

// ErrClosed is returned by Alloc after Close.
var ErrClosed = errors.New("secmem: closed")

// Config says how much memory an Arena may take.
type Config struct {
	// Max bounds the mapped memory, in bytes; at least one page. It is
	// rounded down to whole pages.
	Max int
	// RequireMlock makes New fail where memory cannot be locked. False:
	// the arena then works unlocked and Warning says so.
	RequireMlock bool
}

// Stats are the arena's plain numbers, in bytes.
type Stats struct {
	Mapped int // in chunks, handed out or not
	Used   int // in cells that are handed out
	Locked int // of Mapped, locked into RAM: all of it or nothing
}

// Arena hands out wiped, locked memory. Its methods may be called from many
// goroutines.
//
// INVARIANT: every byte of a chunk that is not in a cell handed out is zero.
// INVARIANT: stats.Mapped ≤ max, and every chunk is DONTDUMP, and locked if
// lock is set: a chunk that cannot be made so is never used.
// INVARIANT: at most one chunk is empty; a second one is unmapped.
type Arena struct {
	max     int    // immutable
	lock    bool   // immutable
	warning string // immutable

	mu     sync.Mutex // guards what follows; nothing is called back under it
	chunks []*chunk   // by address
	stats  Stats
	closed bool
}

// New prepares an arena. It maps nothing yet, but finds out whether memory can
// be locked, and how much.
func New(cfg Config) (*Arena, error) {
	if cfg.Max < pageSize {
		return nil, fmt.Errorf("secmem: a bound of %d bytes is less than one page", cfg.Max)
	}
	max := cfg.Max &^ (pageSize - 1)
	v, err := lockable(max)
	if err != nil {
		return nil, err
	}
	if !v.lock && cfg.RequireMlock {
		return nil, fmt.Errorf("secmem: %s", v.warning)
	}
	return &Arena{max: v.max, lock: v.lock, warning: v.warning}, nil
}

// Warning is one sentence about what the system did not grant, or "".
func (a *Arena) Warning() string { return a.warning }

// Max is the bound that holds: Config.Max, or less where less can be locked.
func (a *Arena) Max() int { return a.max }

// Stats returns the numbers of this moment.
func (a *Arena) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stats
}

// Alloc returns n zeroed bytes with no capacity beyond them. The caller owns
// them until it hands the very same slice to Free.
func (a *Arena) Alloc(n int) ([]byte, error) {
	if n < 0 {
		return nil, fmt.Errorf("secmem: a length of %d", n)
	}
	if n > a.max {
		return nil, ErrFull
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, ErrClosed
	}
	if n == 0 {
		return []byte{}, nil
	}
	size := CellSize(n)
	for _, c := range a.chunks {
		if off, ok := c.take(size); ok {
			a.stats.Used += size
			return c.mem[off : off+n : off+n], nil
		}
	}
	c, err := a.grow(size)
	if err != nil {
		return nil, err
	}
	off, ok := c.take(size)
	if !ok {
		panic("secmem: a new chunk has no room for the cell it was made for")
	}
	a.stats.Used += size
	return c.mem[off : off+n : off+n], nil
}

// Free wipes b, the whole of what Alloc returned, and takes it back. It panics
// on anything else: memory freed twice is memory that somebody may still read.
func (a *Arena) Free(b []byte) {
	if cap(b) == 0 {
		return // Alloc(0)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.find(address(b))
	if i < 0 {
		panic("secmem: Free of memory that is not this arena's, or was freed")
	}
	c := a.chunks[i]
	off := int(address(b) - c.base())
	size, ok := c.sizeAt(off)
	if !ok {
		panic("secmem: Free of memory that is not handed out: freed twice, or not the start of it")
	}
	if CellSize(cap(b)) != size {
		panic("secmem: Free of a slice with another capacity than Alloc gave it")
	}
	clear(c.mem[off : off+size])
	c.give(off)
	a.stats.Used -= size
	if c.empty() && (a.closed || c.whole() || a.spare() > 1) {
		a.unmap(i)
	}
}

// Close unmaps everything that is not handed out; a cell still handed out
// stays readable, and is wiped and unmapped at its Free. It says so in its
// error: unmapping memory under a reader would end the process.
func (a *Arena) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.dropEmpty()
	if a.stats.Used > 0 {
		return fmt.Errorf("secmem: closed with %d bytes still handed out", a.stats.Used)
	}
	return nil
}

// find returns the index of the chunk that holds address p, or -1.
func (a *Arena) find(p uintptr) int {
	i, ok := slices.BinarySearchFunc(a.chunks, p, func(c *chunk, p uintptr) int {
		switch {
		case p < c.base():
			return 1
		case p-c.base() >= uintptr(len(c.mem)):
			return -1
		}
		return 0
	})
	if !ok {
		return -1
	}
	return i
}

func (a *Arena) spare() (n int) {
	for _, c := range a.chunks {
		if c.empty() {
			n++
		}
	}
	return n
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
