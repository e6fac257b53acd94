package session

import "github.com/hanwen/go-fuse/v2/fuse"

// Handler answers what the kernel asks: the protocol's verbs. Its methods are
// called from many goroutines.
//
// A request, in, and what is handed for the answer are the handler's until it
// returns. Nobody else reads meanwhile, unless it says that it is about to wait
// (Request.WillBlock). out is zeroed.
type Handler interface {
	Lookup(r *Request, name string, out *fuse.EntryOut) fuse.Status
	Forget(id, lookups uint64)
	GetAttr(r *Request, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status
	Readlink(r *Request) (text []byte, status fuse.Status)
	Open(r *Request, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status
	// Read returns what it has written to buf, which has room for what is asked,
	// or bytes that stay where they are until Request.Lent is released.
	Read(r *Request, in *fuse.ReadIn, buf []byte) ([]byte, fuse.Status)
	Flush(r *Request, in *fuse.FlushIn) fuse.Status
	Release(r *Request, in *fuse.ReleaseIn)
	OpenDir(r *Request, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status
	ReadDir(r *Request, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status
	ReadDirPlus(r *Request, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status
	ReleaseDir(r *Request, in *fuse.ReleaseIn)
	StatFs(r *Request, out *fuse.StatfsOut) fuse.Status
}
