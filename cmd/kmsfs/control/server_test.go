package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// someEndpoint is one in a directory of the test's, under the user that runs it.
func someEndpoint(t *testing.T) endpoint {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return endpoint{owner: os.Geteuid(), name: "0-1.sock", dir: filepath.Join(dir, "kmsfs")}
}

// silent is a daemon that nobody asks.
var silent = Handlers{}

func (p endpoint) path() string { return filepath.Join(p.dir, p.name) }

// bind leaves a socket at the endpoint: a live one, until it is closed.
func bind(t *testing.T, p endpoint) *net.UnixListener {
	t.Helper()
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.path(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	t.Cleanup(func() { l.Close() })
	return l
}

func TestControlSocketIsPrivate(t *testing.T) {
	p := someEndpoint(t)
	c, err := newServer(p, silent)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(p.path()); err != nil || st.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket: %v, %v", st, err)
	}
	if st, err := os.Lstat(p.dir); err != nil || st.Mode() != os.ModeDir|0o700 {
		t.Errorf("the directory: %v, %v", st, err)
	}
	c.Close()
	if _, err := os.Lstat(p.path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind (%v)", err)
	}
}

// The socket of a process that has died makes room for the next.
func TestControlReplacesDeadSocket(t *testing.T) {
	p := someEndpoint(t)
	bind(t, p).Close()
	c, err := newServer(p, silent)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn, err := net.Dial("unix", p.path())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// One that is about to end is waited for.
func TestControlWaitsForLastOne(t *testing.T) {
	p := someEndpoint(t)
	first, err := newServer(p, silent)
	if err != nil {
		t.Fatal(err)
	}
	ended := time.AfterFunc(50*time.Millisecond, first.Close)
	defer ended.Stop()
	second, err := newServer(p, silent)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}

// It may remove its socket at any moment: also between the look at the name
// and the call to it.
func TestControlMeetsOneThatEnds(t *testing.T) {
	p := someEndpoint(t)
	for range 100 {
		first, err := newServer(p, silent)
		if err != nil {
			t.Fatal(err)
		}
		gone := make(chan struct{})
		go func() { defer close(gone); first.Close() }()
		second, err := newServer(p, silent)
		if err != nil {
			t.Fatal(err)
		}
		<-gone
		second.Close()
	}
}

// Nothing but a dead socket is ever removed.
func TestControlLeavesOthersAlone(t *testing.T) {
	t.Run("live", func(t *testing.T) {
		p := someEndpoint(t)
		bind(t, p)
		if _, err := newServer(p, silent); err == nil || !strings.Contains(err.Error(), "another process listens") {
			t.Errorf("%v", err)
		}
		if _, err := net.Dial("unix", p.path()); err != nil {
			t.Errorf("the other's socket: %v", err)
		}
	})
	for name, plant := range map[string]func(path string) error{
		"a file":      func(path string) error { return os.WriteFile(path, []byte("mine"), 0o600) },
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a link":      func(path string) error { return os.Symlink("/nowhere", path) },
	} {
		t.Run(name, func(t *testing.T) {
			p := someEndpoint(t)
			if err := os.Mkdir(p.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := plant(p.path()); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(p.path())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := newServer(p, silent); err == nil || !strings.Contains(err.Error(), "something else has the name") {
				t.Errorf("%v", err)
			}
			if after, err := os.Lstat(p.path()); err != nil || !os.SameFile(before, after) {
				t.Errorf("it is gone (%v)", err)
			}
		})
	}
	t.Run("a successor", func(t *testing.T) {
		p := someEndpoint(t)
		c, err := newServer(p, silent)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(p.path(), p.path()+".old"); err != nil {
			t.Fatal(err)
		}
		bind(t, p)
		c.Close()
		if _, err := os.Lstat(p.path()); err != nil {
			t.Errorf("the successor's socket: %v", err)
		}
	})
}
