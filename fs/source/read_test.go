package source

import (
	"os"
	"path/filepath"
	"testing"
)

// A file is being written while somebody has it open for that, or when it is
// not the version that was seen.
func TestInWriting(t *testing.T) {
	s, dir := newDir(t)
	st, err := s.Stat("d/f")
	if err != nil {
		t.Fatal(err)
	}
	if s.InWriting("d/f", TupleOf(&st)) {
		t.Error("a file at rest")
	}
	f, err := os.OpenFile(filepath.Join(dir, "source/d/f"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !s.InWriting("d/f", TupleOf(&st)) {
		t.Error("a file that is open for writing")
	}
	f.Close()
	if s.InWriting("d/f", TupleOf(&st)) {
		t.Error("a file that was closed")
	}
	if !s.InWriting("d/f", Tuple{}) {
		t.Error("another version")
	}
}
