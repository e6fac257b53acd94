package supervise

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

func listenAt(t *testing.T, address string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	t.Setenv("NOTIFY_SOCKET", address)
	return conn
}

func hear(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	text := make([]byte, 100)
	n, err := conn.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(text[:n])
}

// systemd gets the words, under a path as well as in the abstract name space.
func TestNotify(t *testing.T) {
	dir := t.TempDir()
	for _, address := range []string{filepath.Join(dir, "notify"), "@" + dir} {
		conn := listenAt(t, address)
		if err := Notify("READY=1\nSTATUS=x"); err != nil {
			t.Fatal(err)
		}
		if text := hear(t, conn); text != "READY=1\nSTATUS=x" {
			t.Errorf("%q", text)
		}
	}
}

// A systemd that reads nothing, because it waits for us, stops nobody; what it
// must know it hears later.
func TestNotifyNeverWaits(t *testing.T) {
	conn := listenAt(t, "@"+t.TempDir())
	said := 0
	begun := time.Now()
	for Notify("WATCHDOG=1") == nil {
		if said++; said > 1<<20 {
			t.Fatal("there is always room")
		}
	}
	if err := NotifyUntilHeard("READY=1"); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	for range said {
		if text := hear(t, conn); text != "WATCHDOG=1" {
			t.Fatalf("%q", text)
		}
	}
	if text := hear(t, conn); text != "READY=1" {
		t.Errorf("%q", text)
	}
}

func TestNotifyNobody(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify("READY=1"); err != nil {
		t.Error(err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := Notify("READY=1"); err == nil {
		t.Error("nobody listens, and that is no error")
	}
}
