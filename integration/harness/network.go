package harness

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// FreeAddress is one on which nobody listens.
func FreeAddress(t *testing.T) (host, port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	host, port, err = net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// Handshake returns the certificate that a server proves to have the key of.
// A protocol that only changes to TLS is asked to with ask, and answers with
// one byte.
func Handshake(addr, ask string) (string, bool) {
	conn, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		return "", false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(Patience))
	if ask != "" {
		if _, err := io.WriteString(conn, ask); err != nil {
			return "", false
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			return "", false
		}
	}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // the caller compares it, byte for byte
	if secure.Handshake() != nil {
		return "", false
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.ConnectionState().PeerCertificates[0].Raw})), true
}

// Forward connects whoever comes to an address of the network outside.
func Forward(from net.Listener, to string) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		in, err := from.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer in.Close()
			out, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer out.Close()
			wg.Go(func() {
				io.Copy(out, in)
				out.(*net.TCPConn).CloseWrite()
			})
			io.Copy(in, out)
		})
	}
}
