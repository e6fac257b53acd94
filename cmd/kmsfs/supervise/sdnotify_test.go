package supervise

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// systemd gets the words and the descriptor, under a path as well as in the
// abstract name space.
func TestNotify(t *testing.T) {
	dir := t.TempDir()
	for _, address := range []string{filepath.Join(dir, "notify"), "@" + dir} {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		t.Setenv("NOTIFY_SOCKET", address)
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := Notify("FDSTORE=1\nFDNAME=fuse", int(write.Fd())); err != nil {
			t.Fatal(err)
		}
		write.Close()
		text, rights := make([]byte, 100), make([]byte, 100)
		n, rn, _, _, err := conn.ReadMsgUnix(text, rights)
		if err != nil || string(text[:n]) != "FDSTORE=1\nFDNAME=fuse" {
			t.Fatalf("%q, %v", text[:n], err)
		}
		messages, err := unix.ParseSocketControlMessage(rights[:rn])
		if err != nil || len(messages) != 1 {
			t.Fatalf("%d messages, %v", len(messages), err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			t.Fatalf("descriptors %v, %v", fds, err)
		}
		if _, err := unix.Write(fds[0], []byte("!")); err != nil {
			t.Fatal(err)
		}
		unix.Close(fds[0])
		if n, err := read.Read(text); n != 1 || text[0] != '!' {
			t.Errorf("the pipe gave %d bytes, %v", n, err)
		}
		read.Close()
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
