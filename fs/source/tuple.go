package source

import (
	"time"

	"golang.org/x/sys/unix"
)

// The kinds of what is shown.
const (
	ModeDir  = unix.S_IFDIR
	ModeFile = unix.S_IFREG
	ModeLink = unix.S_IFLNK
)

// Tuple is what stat says of one version of a file. It is never proof that
// bytes are unchanged: a write through a dirty mapping changes none of it.
type Tuple struct {
	Dev, Ino           uint64
	Size, Mtime, Ctime int64 // bytes, ns, ns
}

// TupleOf is the tuple in an answer of stat.
func TupleOf(st *unix.Stat_t) Tuple {
	return Tuple{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
}

// IsTrusted tells whether a file that was read now had been left alone for
// long enough that a later change must show in its tuple (2 s cover the
// coarsest time stamps in use).
func (t Tuple) IsTrusted() bool {
	return time.Now().UnixNano()-t.Ctime > int64(2*time.Second)
}
