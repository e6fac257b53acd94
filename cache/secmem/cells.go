package secmem

import (
	"math"
	"math/bits"
)

// minCell is the smallest cell: a cache line.
const minCell = 64

// CellSize is what n bytes really take: the next power of two from 64 bytes
// up to a chunk, whole pages above, and nothing for 0 bytes.
func CellSize(n int) int {
	switch {
	case n <= 0:
		return 0
	case n <= minCell:
		return minCell
	case n <= chunkSize:
		return 1 << bits.Len(uint(n-1))
	case n > math.MaxInt-pageSize:
		return math.MaxInt
	}
	return (n + pageSize - 1) &^ (pageSize - 1)
}

// chunk is one mapping, cut into cells by the buddy method: a cell is split in
// halves until it fits, and two free halves are one again at once, so no size
// ever starves because another was popular yesterday.
//
// free is a complete binary tree in an array, on the Go heap: node 0 is the
// whole chunk, the children of i are 2i+1 and 2i+2, a leaf is minCell bytes.
// A node holds the order of the largest free cell beneath it: 0 none, 1 a
// leaf, k a cell of minCell<<(k-1) bytes.
//
// INVARIANT: a node that is handed out holds 0, and the nodes below it what
// they held when it was wholly free.
//
// A chunk longer than chunkSize is one cell: free has one node.
type chunk struct {
	mem  []byte
	free []uint8
}

func newChunk(mem []byte) *chunk {
	c := &chunk{mem: mem}
	if c.whole() {
		c.free = []uint8{1}
		return c
	}
	leaves := len(mem) / minCell
	c.free = make([]uint8, 2*leaves-1)
	top := order(len(mem))
	for i := range c.free {
		c.free[i] = top - uint8(bits.Len(uint(i+1))-1)
	}
	return c
}

// order is the tree's number for a cell of size bytes, a power of two.
func order(size int) uint8 { return uint8(bits.Len(uint(size / minCell))) }

func (c *chunk) base() uintptr { return address(c.mem) }

// whole says that the chunk is a single cell.
func (c *chunk) whole() bool { return len(c.mem) > chunkSize }

func (c *chunk) empty() bool {
	if c.whole() {
		return c.free[0] == 1
	}
	return c.free[0] == order(len(c.mem))
}

// take hands out a cell of size bytes, a CellSize, and returns its offset.
func (c *chunk) take(size int) (off int, ok bool) {
	if c.whole() {
		// Nothing but the cell it was made for: it is unmapped when that
		// is given back.
		ok = c.free[0] == 1 && size == len(c.mem)
		if ok {
			c.free[0] = 0
		}
		return 0, ok
	}
	want := order(size)
	if size > chunkSize || c.free[0] < want {
		return 0, false
	}
	i := 0
	for o := order(len(c.mem)); o > want; o-- {
		l, r := 2*i+1, 2*i+2
		// the tighter half, so that large cells stay whole
		if c.free[l] >= want && (c.free[r] < want || c.free[l] <= c.free[r]) {
			i = l
		} else {
			i = r
		}
	}
	c.free[i] = 0
	off = (i+1)*size - len(c.mem)
	for i > 0 {
		i = (i - 1) / 2
		c.free[i] = max(c.free[2*i+1], c.free[2*i+2])
	}
	return off, true
}

// sizeAt returns the size of the cell that is handed out at exactly off.
func (c *chunk) sizeAt(off int) (size int, ok bool) {
	if c.whole() {
		return len(c.mem), off == 0 && c.free[0] == 0
	}
	i, ok := c.node(off)
	if !ok {
		return 0, false
	}
	size = len(c.mem) >> (bits.Len(uint(i+1)) - 1)
	return size, (i+1)*size-len(c.mem) == off
}

// node finds the node that is handed out and covers off: the first 0 on the
// way up from its leaf.
func (c *chunk) node(off int) (i int, ok bool) {
	i = off/minCell + len(c.mem)/minCell - 1
	for c.free[i] != 0 {
		if i == 0 {
			return 0, false
		}
		i = (i - 1) / 2
	}
	return i, off%minCell == 0
}

// give takes the cell at off back; sizeAt has agreed.
func (c *chunk) give(off int) {
	if c.whole() {
		c.free[0] = 1
		return
	}
	i, _ := c.node(off)
	o := order(len(c.mem) >> (bits.Len(uint(i+1)) - 1))
	c.free[i] = o
	for i > 0 {
		i = (i - 1) / 2
		l, r := c.free[2*i+1], c.free[2*i+2]
		if l == o && r == o {
			c.free[i] = o + 1
		} else {
			c.free[i] = max(l, r)
		}
		o++
	}
}
