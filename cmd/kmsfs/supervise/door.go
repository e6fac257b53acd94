package supervise

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/session"
)

// The holder of a service has no privileges and cannot mount. Its door is where
// root brings what it shall serve: the device of a new mount, or all that the
// server before it serves. Nothing of that ever lies with systemd: systemd may
// wait for the mount itself, and whoever waits for a mount must not be the one
// who keeps it from ending.
//
// A message at the door is one packet: a word, and descriptors.

const (
	bringsDevice   = "device"   // one descriptor
	bringsLifeline = "lifeline" // three, and the predecessor's leash
	// doorPatience is how long root waits until what it has brought is served.
	doorPatience = 20 * time.Second
)

// door is the holder's side.
type door struct{ *net.UnixListener }

// openDoor listens. What a holder before us has left there is removed: it lies
// in a directory of this user alone.
func openDoor(path string) (*door, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, ui.Failf("wait for the mount: %w", ui.PlainPath(err))
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, ui.Failf("wait for the mount: %w", ui.Cause(err))
	}
	return &door{l}, nil
}

// delivery is what root has brought, and is told what has become of it.
type delivery struct {
	conn   *net.UnixConn
	device *os.File          // of a new mount, or nil:
	line   *session.Lifeline // of one that is being served
	leash  *os.File          // by whom
}

// await lets root in, and nobody else.
func (d *door) await() (*delivery, error) {
	for {
		conn, err := d.AcceptUnix()
		if err != nil {
			return nil, err
		}
		conn.SetDeadline(time.Now().Add(doorPatience))
		if peer, err := peerOf(conn); err == nil && peer.Uid == 0 {
			if got, err := receive(conn); err == nil {
				return got, nil
			}
		}
		conn.Close()
	}
}

func receive(conn *net.UnixConn) (*delivery, error) {
	word, rights := make([]byte, 16), make([]byte, unix.CmsgSpace(4*4))
	n, rn, _, _, err := conn.ReadMsgUnix(word, rights)
	if err != nil {
		return nil, err
	}
	files, err := filesIn(rights[:rn])
	if err != nil {
		return nil, err
	}
	switch word := string(word[:n]); {
	case word == bringsDevice && len(files) == 1:
		return &delivery{conn: conn, device: files[0]}, nil
	case word == bringsLifeline && len(files) == 4:
		return &delivery{conn: conn, line: lifelineOf(files), leash: files[3]}, nil
	}
	for _, f := range files {
		f.Close()
	}
	return nil, errors.New("not what is expected at the door")
}

// filesIn are the descriptors that came with a message.
func filesIn(rights []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return nil, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "handed in"))
		}
	}
	return files, nil
}

// lifelineOf is made of three files, as they are sent.
func lifelineOf(files []*os.File) *session.Lifeline {
	return &session.Lifeline{Device: files[0], Journal: files[1], Source: files[2]}
}

// answer says what has become of the delivery: it is served, or why not.
func (d *delivery) answer(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	d.conn.Write([]byte(text + "\n")) // root may have given up
	d.conn.Close()
}

// Door is the side of root.
type Door struct{ conn *net.UnixConn }

// KnockAt connects to the door of one process. Another one that listens there
// gets nothing.
func KnockAt(path string, pid int) (*Door, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, ui.Failf("bring the mount to its server: %w", ui.Cause(err))
	}
	if peer, err := peerOf(conn); err != nil || int(peer.Pid) != pid {
		conn.Close()
		return nil, ui.Failf("bring the mount to its server: another process than %d listens for it", pid)
	}
	return &Door{conn}, nil
}

// BringDevice hands in a new mount, and returns when that is served.
func (d *Door) BringDevice(device *os.File) error {
	return d.bring(bringsDevice, device)
}

// BringLifeline hands in what a server serves, with its leash, and returns when
// the next one does.
func (d *Door) BringLifeline(line *session.Lifeline, leash *os.File) error {
	return d.bring(bringsLifeline, line.Device, line.Journal, line.Source, leash)
}

// bring sends descriptors and lets go of them: whoever waits for the mount must
// depend on its server alone, and not on us.
func (d *Door) bring(word string, files ...*os.File) error {
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	d.conn.SetDeadline(time.Now().Add(doorPatience))
	_, _, err := d.conn.WriteMsgUnix([]byte(word), unix.UnixRights(fds...), nil)
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		return ui.Failf("bring the mount to its server: %w", ui.Cause(err))
	}
	text := make([]byte, 4096)
	n, err := d.conn.Read(text)
	switch {
	case err == io.EOF || err == nil && n == 0:
		return ui.Failf("the server has ended before it answered; its log says why")
	case err != nil:
		return ui.Failf("wait for the server: %w", ui.Cause(err))
	case string(text[:n]) != "\n":
		return ui.Failf("the server has not begun: %s", ui.OneLine(string(text[:n-1])))
	}
	return nil
}

// Close goes away.
func (d *Door) Close() { d.conn.Close() }

// peerOf is who has the other end, as the kernel noted when it connected or
// listened.
func peerOf(conn *net.UnixConn) (peer *unix.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(cerr, err); err != nil {
		return nil, fmt.Errorf("who is it: %w", err)
	}
	return peer, nil
}
