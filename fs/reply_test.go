package fs

import (
	"bytes"
	"testing"
)

func TestReply(t *testing.T) {
	r := &reply{parts: [1][]byte{[]byte("abc")}}
	if parts, status := r.Slices(); !status.Ok() || r.Size() != 3 || !bytes.Equal(parts[0], []byte("abc")) {
		t.Error("reply")
	}
}
