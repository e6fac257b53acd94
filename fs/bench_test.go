package fs

import (
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/fs/session"
)

// What a warm open costs beside the kernel: a LOOKUP, an OPEN, a READ and a
// RELEASE of a plaintext that is in the cache.
func BenchmarkWarmOpen(b *testing.B) {
	for name, fast := range map[string]bool{"checked": false, "fast": true} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			putBlob(b, dir+"/a.cipher", "text")
			f := unmounted(b, dir)
			f.cfg.Decrypter = zeros{}
			f.mode = newMode(f, fast)
			f.pages.Close() // nobody takes pages back
			var entry fuse.EntryOut
			var open fuse.OpenOut
			buf := make([]byte, 4096)
			h := &fuse.InHeader{}
			r := &session.Request{InHeader: h}
			read := &fuse.ReadIn{Size: 4096, ReadFlags: fuse.READ_LOCKOWNER}
			b.ReportAllocs()
			for b.Loop() {
				h.NodeId = rootID
				if status := f.Lookup(r, "a", &entry); !status.Ok() {
					b.Fatal(status)
				}
				h.NodeId = entry.NodeId
				if status := f.Open(r, &fuse.OpenIn{InHeader: *h}, &open); !status.Ok() && !fast {
					b.Fatal(status)
				}
				read.InHeader, read.Fh = *h, open.Fh
				if _, status := f.Read(r, read, buf); !status.Ok() {
					b.Fatal(status)
				}
				r.Lent.Release()
				f.Release(r, &fuse.ReleaseIn{Fh: open.Fh})
				f.Forget(entry.NodeId, 1)
			}
		})
	}
}
