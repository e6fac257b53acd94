package failure_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// serviceName is a name of the service that no real resolver knows.
const serviceName = "kms.lab.invalid"

// resolver is a name server that knows one name, if that.
type resolver struct{ knows atomic.Bool }

// ownNames puts this test's thread, and with it all programs it starts from
// now on, into a network of its own, with loopback, a resolver at the addresses
// that this machine is configured for, and a relay to the emulator.
func (s *failing) ownNames() []string {
	s.T.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if os.Getenv("CI") != "" {
			s.Fatalf("a network namespace is needed here: %v", err)
		}
		s.Skipf("SKIPPED, NOT TESTED: a network namespace is needed (%v)", err)
	}
	ip := func(args ...string) {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			s.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	ip("link", "set", "lo", "up")
	s.names = &resolver{}
	s.names.knows.Store(true)
	var wg sync.WaitGroup
	for _, address := range nameServers() {
		if !net.ParseIP(address).IsLoopback() {
			ip("addr", "add", address, "dev", "lo")
		}
		c, err := net.ListenPacket("udp", net.JoinHostPort(address, "53"))
		s.must(err)
		s.Cleanup(func() { c.Close() })
		wg.Go(func() { s.names.serve(c) })
	}
	relay, err := net.Listen("tcp", s.Endpoint)
	s.must(err)
	wg.Go(func() { harness.Forward(relay, s.Endpoint) })
	s.Cleanup(func() { relay.Close() })
	_, port, _ := net.SplitHostPort(s.Endpoint)
	return []string{"endpoint=" + net.JoinHostPort(serviceName, port)}
}

// loseName takes the name away, and the connections that were made by it.
func (s *failing) loseName() {
	s.names.knows.Store(false)
	s.fail(map[string]any{"close": true})
}

func (s *failing) findName() {
	s.names.knows.Store(true)
	s.clear()
}

// nameServers are those that programs on this machine ask.
func nameServers() []string {
	var found []string
	b, _ := os.ReadFile("/etc/resolv.conf")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "nameserver" && net.ParseIP(f[1]) != nil {
			found = append(found, f[1])
		}
	}
	if len(found) == 0 {
		found = []string{"127.0.0.1"} // the default
	}
	return found
}

// serve answers whoever asks for an address: 127.0.0.1, no address of the
// other kind, or that there is no such name (RFC 1035, 4.1).
func (r *resolver) serve(c net.PacketConn) {
	var name []byte
	for label := range strings.SplitSeq(serviceName, ".") {
		name = append(append(name, byte(len(label))), label...)
	}
	name = append(name, 0)
	b := make([]byte, 512)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		const header = 12
		asked, ok := bytes.CutPrefix(b[header:max(n, header)], name)
		known := ok && len(asked) >= 4 && r.knows.Load()
		end := header + len(name) + 4 // behind type and class
		if !ok || len(asked) < 4 {
			end = header
		}
		answer := bytes.Clone(b[:end])
		copy(answer[2:header], []byte{0x81, 0x83, 0, 1, 0, 0, 0, 0, 0, 0}) // an answer: no such name
		if end == header {
			answer[5] = 0 // to no question
		}
		if known {
			answer[3] = 0x80
			if asked[1] == 1 { // type A: the name at offset 12, for no time
				answer[7] = 1
				answer = append(answer, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
			}
		}
		c.WriteTo(answer, from)
	}
}
