package integration_test

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// daemon is a real server that runs beside a test, in a directory of its own.
// It belongs to the test and ends with it.
type daemon struct {
	dir  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// launch starts a server in the foreground. What it says is in dir/log.
func launch(t *testing.T, dir string, cmd *exec.Cmd) *daemon {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d := &daemon{dir: dir, cmd: cmd, done: make(chan struct{})}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C"}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(d.done)
	}()
	t.Cleanup(d.stop)
	return d
}

// stop ends the server and waits for it.
func (d *daemon) stop() {
	d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
	case <-time.After(patience):
		d.cmd.Process.Kill()
		<-d.done
	}
}

func (d *daemon) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: %v\n%s", d.name(), err, d.log())
	}
}

func (d *daemon) ended() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

func (d *daemon) name() string { return filepath.Base(d.cmd.Path) }

// log is what the server has said.
func (d *daemon) log() string {
	b, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	return string(b)
}

// until waits for something that the server should do.
func (d *daemon) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for begun := time.Now(); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatalf("%s: no %s:\n%s", d.name(), what, d.log())
		}
		if d.ended() && !done() {
			t.Fatalf("%s ended before %s:\n%s", d.name(), what, d.log())
		}
	}
}

// end waits for the server to end by itself.
func (d *daemon) end(t *testing.T) {
	t.Helper()
	select {
	case <-d.done:
	case <-time.After(patience):
		t.Fatalf("%s did not end:\n%s", d.name(), d.log())
	}
}

// children are the processes that the server has made itself.
func (d *daemon) children() []string {
	var pids []string
	lists, _ := filepath.Glob("/proc/" + itoa(d.cmd.Process.Pid) + "/task/*/children")
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		pids = append(pids, strings.Fields(string(b))...)
	}
	return pids
}

// address is one on which nobody listens.
func address(t *testing.T) (host, port string) {
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

// handshake returns the certificate that a server proves to have the key of.
// A protocol that only changes to TLS is asked to with ask, and answers with
// one byte.
func handshake(addr, ask string) (string, bool) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return "", false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
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
