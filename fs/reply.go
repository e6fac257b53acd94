package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/cache"
)

// reply is the answer to one READ: a part of a leased plaintext. go-fuse
// writes Slices straight to the kernel and calls Done after the write, so
// that the plaintext is neither copied into its buffers nor wiped too early.
//
// A reply is never empty: go-fuse does not call Done for those.
type reply struct {
	lease *cache.Lease
	parts [1][]byte
}

var _ fuse.ReadResult = (*reply)(nil)

// answer makes the reply to a READ, and the lease its own.
func answer(lease *cache.Lease, in *fuse.ReadIn) (fuse.ReadResult, fuse.Status) {
	plaintext := lease.Bytes()
	if in.Offset >= uint64(len(plaintext)) {
		lease.Release()
		return fuse.ReadResultData(nil), fuse.OK
	}
	end := min(in.Offset+uint64(in.Size), uint64(len(plaintext)))
	return &reply{lease: lease, parts: [1][]byte{plaintext[in.Offset:end]}}, fuse.OK
}

func (r *reply) Slices() ([][]byte, fuse.Status) { return r.parts[:], fuse.OK }
func (r *reply) Size() int                       { return len(r.parts[0]) }
func (r *reply) Done()                           { r.lease.Release() }

// Bytes is for a go-fuse that does not know Slices; it is not called.
func (r *reply) Bytes(buf []byte) ([]byte, fuse.Status) {
	return buf[:copy(buf, r.parts[0])], fuse.OK
}
