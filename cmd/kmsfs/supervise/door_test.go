package supervise

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// numbered are files that can be told apart.
func numbered(t *testing.T, n int) (files []*os.File) {
	t.Helper()
	for range n {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		files = append(files, f)
	}
	return files
}

func sameFile(t *testing.T, name string, a, b *os.File) {
	t.Helper()
	as, aerr := a.Stat()
	bs, berr := b.Stat()
	if aerr != nil || berr != nil || !os.SameFile(as, bs) {
		t.Errorf("%s: %v, %v", name, aerr, berr)
	}
}

// atDoor opens one, and lets in who may come.
func atDoor(t *testing.T) (path string, came <-chan *delivery) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: only root is let in")
	}
	path = filepath.Join(t.TempDir(), "door")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // what somebody has left there
		t.Fatal(err)
	}
	d, err := openDoor(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	deliveries := make(chan *delivery)
	go func() {
		for {
			got, err := d.await()
			if err != nil {
				return
			}
			deliveries <- got
		}
	}()
	return path, deliveries
}

// Root brings a mount, keeps nothing of it, and hears what has become of it.
func TestDeviceIsBrought(t *testing.T) {
	for _, outcome := range []error{nil, errors.New("no such option\nat all")} {
		path, came := atDoor(t)
		door, err := KnockAt(path, os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		device := numbered(t, 1)[0]
		same, err := os.Open(device.Name())
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan error)
		go func() { heard <- door.BringDevice(device) }()
		got := <-came
		sameFile(t, "the device", same, got.device)
		if got.line != nil || got.leash != nil {
			t.Errorf("%+v", got)
		}
		for late := time.Now().Add(20 * time.Second); ; {
			if _, err := device.Stat(); errors.Is(err, os.ErrClosed) {
				break
			}
			if time.Now().After(late) {
				t.Fatal("who waits for the mount still holds it")
			}
		}
		got.answer(outcome)
		err = <-heard
		if outcome == nil && err != nil || outcome != nil && (err == nil || err.Error() != `the server has not begun: no such option\x0aat all`) {
			t.Errorf("%v: %v", outcome, err)
		}
		door.Close()
	}
}

func TestLifelineIsBrought(t *testing.T) {
	path, came := atDoor(t)
	door, err := KnockAt(path, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	files := numbered(t, 4)
	var same []*os.File
	for _, f := range files {
		s, err := os.Open(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		same = append(same, s)
	}
	heard := make(chan error)
	go func() { heard <- door.BringLifeline(lifelineOf(files), files[3]) }()
	got := <-came
	for i, f := range []*os.File{got.line.Device, got.line.Journal, got.line.Source, got.leash} {
		sameFile(t, f.Name(), same[i], f)
	}
	got.conn.Close() // the main process dies
	if err := <-heard; err == nil || !strings.Contains(err.Error(), "has ended before it answered") {
		t.Error(err)
	}
}

// What makes no sense at the door is sent away, and the next one is let in.
func TestNonsenseAtTheDoor(t *testing.T) {
	path, came := atDoor(t)
	for word, n := range map[string]int{bringsDevice: 2, bringsLifeline: 3, "nothing": 1, "": 0} {
		conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		var fds []int
		for _, f := range numbered(t, n) {
			fds = append(fds, int(f.Fd()))
		}
		if _, _, err := conn.WriteMsgUnix([]byte(word), unix.UnixRights(fds...), nil); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 10)); n != 0 {
			t.Errorf("%q is answered (%v)", word, err)
		}
		conn.Close()
	}
	door, err := KnockAt(path, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	go door.BringDevice(numbered(t, 1)[0])
	(<-came).answer(nil)
}

// Another process than the main one gets nothing, whatever it listens at.
func TestOnlyTheMainProcessIsServed(t *testing.T) {
	path, _ := atDoor(t)
	if _, err := KnockAt(path, os.Getpid()+1); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Error(err)
	}
	if _, err := KnockAt(path+"x", os.Getpid()); err == nil {
		t.Error("nobody is there")
	}
}

// conns are the two ends of a control socket.
func conns(t *testing.T) (server, client *net.UnixConn) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "end")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		ends[i] = c.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// taken is a lifeline that a server has offered, and what that server hears.
func taken(t *testing.T) (server *net.UnixConn, in Inheritance, offered <-chan error) {
	t.Helper()
	server, client := conns(t)
	files := numbered(t, 3)
	done := make(chan error, 1)
	go func() { done <- OfferLifeline(server, lifelineOf(files)) }()
	line, leash, err := TakeLifeline(client)
	if err != nil {
		t.Fatal(err)
	}
	client.Close() // the leash is another descriptor of the same
	for i, f := range []*os.File{line.Device, line.Journal, line.Source} {
		sameFile(t, f.Name(), files[i], f)
	}
	t.Cleanup(line.Close)
	return server, Inheritance{leash: leash}, done
}
