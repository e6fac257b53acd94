package supervise

import (
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// A server stops when its successor says that it is ready, and the successor
// begins when the server has ended.
func TestSuccessorBeginsWhenItsPredecessorHasEnded(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		server, in, offered := taken(t)
		began := make(chan error, 1)
		go func() { began <- in.AwaitPredecessor() }()
		if err := <-offered; err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-began:
			t.Fatalf("it has begun while the other one answers (%v)", err)
		default:
		}
		ReportStopped(server, stuck)
		if !stuck {
			server.Close() // as the end of the process does
		}
		begun := time.Now()
		if err := <-began; err != nil || stuck && time.Since(begun) > 10*stuckPatience {
			t.Errorf("stuck %t: %v after %v", stuck, err, time.Since(begun))
		}
	}
}

// A successor that dies before it is ready takes nothing away.
func TestSuccessorThatDies(t *testing.T) {
	_, in, offered := taken(t)
	in.leash.Close()
	if err := <-offered; err == nil {
		t.Error("the server would stop")
	}
}

// A server that closes the connection without a word has died, or is there still,
// as another program: then nobody takes over.
func TestPredecessorThatGoesOn(t *testing.T) {
	server, in, offered := taken(t)
	go server.Close() // this process lives
	if err := in.AwaitPredecessor(); err != errGoesOn {
		t.Error(err)
	}
	<-offered
	if err := (Inheritance{}).AwaitPredecessor(); err != nil {
		t.Errorf("without a predecessor: %v", err)
	}
}

// listenEnv makes TestListens listen there and die when it has been connected to.
const listenEnv = "SUPERVISE_TEST_LISTEN"

func TestListens(t *testing.T) {
	path := os.Getenv(listenEnv)
	if path == "" {
		return // this is for the next test
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	conn.Read(make([]byte, 1))
}

func TestPredecessorThatHasDied(t *testing.T) {
	path := t.TempDir() + "/socket"
	other := exec.Command(os.Args[0], "-test.run=^TestListens$")
	other.Env = append(os.Environ(), listenEnv+"="+path)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	var conn *net.UnixConn
	for late := time.Now().Add(20 * time.Second); conn == nil; {
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			conn = c
		} else if time.Now().After(late) {
			t.Fatal(err)
		}
	}
	leash, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	other.Process.Kill()
	if err := (Inheritance{leash: leash}).AwaitPredecessor(); err != nil { // its parent has not waited for it yet
		t.Error(err)
	}
	other.Wait()
}
