package session

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// reopened is a journal as a successor finds it.
func reopened(t testing.TB, j *journal) *journal {
	t.Helper()
	next, err := openJournal(j.file)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// A successor finds the messages that were not answered and the nodes with pages,
// and takes no slot in which one lies.
func TestJournalIsWhatASuccessorFinds(t *testing.T) {
	j, err := newJournal()
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	first, second, third := j.take(), j.take(), j.take()
	*uniqueOf(second) = 7
	copy(second[40:], "what was asked")
	*uniqueOf(third) = 9
	clearSlot(third)
	for _, id := range []uint64{101, 102, 103, 101} {
		if !j.page(id) {
			t.Fatal("no room")
		}
	}
	j.unpage(102)
	j.unpage(999)
	j.negotiated(39)
	next := reopened(t, j)
	defer next.close()
	left := next.left()
	if len(left) != 1 || *uniqueOf(left[0]) != 7 || !bytes.HasPrefix(left[0][40:], []byte("what was asked")) {
		t.Errorf("%d messages", len(left))
	}
	if paged := next.leftPaged(); !slices.Equal(paged, []uint64{101, 103}) {
		t.Errorf("paged: %v", paged)
	}
	if next.head.minor != 39 || next.head.slots != 3 || next.head.paged != 3 {
		t.Errorf("%+v", next.head)
	}
	for range 10 {
		if slot := next.take(); *uniqueOf(slot) != 0 {
			t.Error("a slot with a message is given out")
		}
	}
	next.page(104) // where 102 was
	next.unpage(101)
	if last := reopened(t, j); !slices.Equal(last.leftPaged(), []uint64{104, 103}) {
		t.Error("what a successor records is lost")
	}
	_ = first
}

// Slots of messages and of nodes are given out again, and no more than there are.
func TestJournalHasAnEnd(t *testing.T) {
	j, err := newJournal()
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	var slot []byte
	for i := range maxSlots {
		if slot = j.take(); slot == nil {
			t.Fatalf("full after %d", i)
		}
	}
	if len(slot) != slotSize || cap(slot) != slotSize {
		t.Errorf("the last slot reaches beyond its end: %d, %d", len(slot), cap(slot))
	}
	if j.take() != nil {
		t.Error("more slots than there are")
	}
	j.give(slot)
	if again := j.take(); &again[0] != &slot[0] {
		t.Error("another slot than was given back")
	}
	j.head.paged = maxPaged - 1
	if !j.page(1) || j.page(2) || !j.page(1) {
		t.Error("more slots for nodes than there are, or fewer")
	}
	j.unpage(1)
	if !j.page(2) {
		t.Error("a slot that is free is not given out")
	}
}

// What is no journal, or another version's, is not taken for one.
func TestForeignJournalIsRefused(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("kmsfs journal 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	file, err := os.Open(short)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, f := range []*os.File{r, file} {
		if _, err := openJournal(f); err == nil {
			t.Errorf("%s is taken for a journal", f.Name())
		}
	}
	for name, spoil := range map[string]func(*journalHead){
		"magic": func(h *journalHead) { h.magic[14] = '2' },
		"slots": func(h *journalHead) { h.slots = maxSlots + 1 },
		"paged": func(h *journalHead) { h.paged = maxPaged + 1 },
	} {
		j, err := newJournal()
		if err != nil {
			t.Fatal(err)
		}
		spoil(j.head)
		if _, err := openJournal(j.file); err == nil {
			t.Errorf("another %s is accepted", name)
		}
		j.unmap()
		j.close()
	}
}

// Whatever lies in a journal, a successor reads it or refuses it, and goes on.
func FuzzJournal(f *testing.F) {
	f.Add([]byte("kmsfs journal 1\n\x00\x00\x00\x00\x00\x00\x00\x00\x27\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00"), bytes.Repeat([]byte{1}, 2*slotSize), []byte{5, 0, 0, 0, 0, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{0xff}, 40), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, head, slots, paged []byte) {
		j, err := newJournal()
		if err != nil {
			t.Skip(err)
		}
		defer j.close()
		defer j.unmap()
		copy(j.memory[:slotsAt], head)
		j.head.paged %= 1000 // all of them are asked
		copy(j.memory[slotsAt:slotsAt+100*slotSize], slots)
		copy(j.memory[pagedAt:pagedAt+1000*8], paged)
		next, err := openJournal(j.file)
		if err != nil {
			return
		}
		defer next.close()
		defer next.unmap()
		s := &Session{cfg: Config{Handler: &echo{}, Log: quiet, IsLocal: func() bool { return true }}, journal: next, gone: make(chan struct{})}
		s.kernel = &kernel{fd: nowhere(t)}
		defer unix.Close(s.kernel.fd)
		left := next.left()
		for _, slot := range left {
			if *uniqueOf(slot) == 0 {
				t.Error("an empty slot is left")
			}
		}
		s.resume(left)
		until(t, "all that was left is answered", func() bool { return !s.busy() })
		if again := next.left(); len(again) != 0 {
			t.Errorf("%d messages are left", len(again))
		}
		seen := map[uint64]bool{}
		for _, id := range next.leftPaged() {
			seen[id] = true
			next.unpage(id)
		}
		if seen[0] {
			t.Error("no node has the number 0")
		}
		if !next.page(12345) {
			t.Error("no room for a node")
		}
	})
}

// nowhere is a descriptor that takes every answer.
func nowhere(t testing.TB) int {
	t.Helper()
	fd, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
