package aliyun

import (
	"encoding/binary"
	"net"
)

// Between two answers net/http and crypto/tls wait in a Read into the whole of
// the buffer that held the last one. io.Reader lets a Read use all of its
// buffer as scratch space; these two clear it.

// clearingReader stands between net/http and TLS.
type clearingReader struct{ net.Conn }

func (c clearingReader) Read(p []byte) (int, error) {
	clear(p)
	return c.Conn.Read(p)
}

// recordReader stands between TLS and the network. It delivers no byte of the
// next record before TLS asks for it: a record is decrypted in place, and
// crypto/tls would leave a buffer that is half consumed, with the plaintext in
// it, for a larger one.
type recordReader struct {
	net.Conn
	header [5]byte
	have   int // of the header
	left   int // of the record's body
}

func (r *recordReader) Read(p []byte) (int, error) {
	clear(p)
	if r.left == 0 && r.have < len(r.header) {
		n, err := r.Conn.Read(p[:min(len(p), len(r.header)-r.have)])
		r.have += copy(r.header[r.have:], p[:n])
		if r.have == len(r.header) {
			r.have, r.left = 0, int(binary.BigEndian.Uint16(r.header[3:]))
		}
		return n, err
	}
	n, err := r.Conn.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}
