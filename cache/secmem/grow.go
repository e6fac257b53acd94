package secmem

import (
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/sys/unix"
)

// chunkSize is what the arena grows by. A cell that is larger gets a mapping
// of its own; near the bound, smaller chunks use what is left.
const chunkSize = 256 << 10

var pageSize = unix.Getpagesize()

// grow maps a chunk that has room for a cell of size bytes.
func (a *Arena) grow(size int) (*chunk, error) {
	want := nextChunk(size, a.max-a.stats.Mapped)
	if want == 0 {
		a.dropEmpty() // an empty chunk may be all that stands in the way
		want = nextChunk(size, a.max-a.stats.Mapped)
	}
	if want == 0 {
		return nil, ErrFull
	}
	mem, err := a.mmap(want)
	if err != nil {
		return nil, err
	}
	c := newChunk(mem)
	i, _ := slices.BinarySearchFunc(a.chunks, c.base(), func(c *chunk, p uintptr) int {
		if c.base() < p {
			return -1
		}
		return 1
	})
	a.chunks = slices.Insert(a.chunks, i, c)
	a.stats.Mapped += len(mem)
	if a.lock {
		a.stats.Locked += len(mem)
	}
	return c, nil
}

// nextChunk returns the length of the mapping for a cell of size bytes where
// room bytes are left: the cell's own length if it is larger than a chunk,
// else the largest power of two that fits; 0 if none does.
func nextChunk(size, room int) int {
	switch {
	case size > room:
		return 0
	case size > chunkSize:
		return size
	}
	n := min(chunkSize, 1<<(bits.Len(uint(room))-1))
	if n < size || n < pageSize {
		return 0
	}
	return n
}

// mmap returns n bytes of zeroed memory with the protections an arena stands
// for, or none at all.
func (a *Arena) mmap(n int) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("%w: mmap: %w", ErrFull, err)
	}
	if err := unix.Madvise(mem, unix.MADV_DONTDUMP); err != nil {
		_ = unix.Munmap(mem)
		return nil, fmt.Errorf("secmem: MADV_DONTDUMP: %w", err)
	}
	// Best effort: kmsfs does not fork without exec.
	_ = unix.Madvise(mem, unix.MADV_WIPEONFORK)
	if a.lock {
		if err := unix.Mlock(mem); err != nil {
			_ = unix.Munmap(mem)
			return nil, fmt.Errorf("%w: mlock: %w", ErrFull, err)
		}
	}
	return mem, nil
}

// unmap gives chunk i, which is empty and so all zeros, back to the system.
func (a *Arena) unmap(i int) {
	c := a.chunks[i]
	a.chunks = slices.Delete(a.chunks, i, i+1)
	a.stats.Mapped -= len(c.mem)
	if a.lock {
		a.stats.Locked -= len(c.mem)
	}
	if err := unix.Munmap(c.mem); err != nil {
		panic("secmem: munmap: " + err.Error())
	}
}

func (a *Arena) dropEmpty() {
	for i := len(a.chunks) - 1; i >= 0; i-- {
		if a.chunks[i].empty() {
			a.unmap(i)
		}
	}
}
