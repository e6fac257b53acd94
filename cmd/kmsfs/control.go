package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/mount"
)

const (
	controlClients  = 8               // connections at a time
	controlPatience = 5 * time.Second // for a client to send, and to read
	flushPatience   = 10 * time.Second
)

// control is the daemon's end of the control socket. It has nothing to do
// with serving files: a client that stalls holds one of a few connections
// until its deadline, and nothing else.
//
// INVARIANT: the name is removed while the socket listens. So whoever finds
// one that refuses connections knows that its process has died, and may put
// his own in its place.
type control struct {
	place    controlPlace
	dir      *os.File // O_PATH
	ino      uint64   // of the socket
	listener *net.UnixListener
	slots    chan struct{}
	reply    replier
	ctx      context.Context
	cancel   context.CancelFunc
}

// replier answers one request of a user.
type replier func(ctx context.Context, uid int, r request) response

// openControl listens beside the mount at point.
func openControl(point string, getenv func(string) string, reply replier) (*control, error) {
	m, ok, err := mount.At(point)
	if err != nil {
		return nil, err
	}
	if !ok || m.Type != mount.Type {
		return nil, errors.New("another file system is mounted over this one")
	}
	place, err := placeOf(m, getenv)
	if err != nil {
		return nil, err
	}
	return newControl(place, reply)
}

func newControl(place controlPlace, reply replier) (*control, error) {
	dir, err := place.open(true)
	if err != nil {
		return nil, err
	}
	c := &control{place: place, dir: dir, slots: make(chan struct{}, controlClients), reply: reply}
	if err := c.listen(); err != nil {
		dir.Close()
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.run()
	return c, nil
}

// listen binds the name. A process that served an earlier mount of this
// number may be about to end: it is given a moment to remove its socket.
func (c *control) listen() error {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if cerr := raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return err
	}}
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		l, err := config.Listen(context.Background(), "unix", c.place.within(c.dir))
		if err == nil {
			c.listener = l.(*net.UnixListener)
			c.listener.SetUnlinkOnClose(false) // see close
			var st unix.Stat_t
			err = unix.Fstatat(int(c.dir.Fd()), c.place.name, &st, unix.AT_SYMLINK_NOFOLLOW)
			c.ino = st.Ino
			return err
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
		if err := c.place.removeDead(c.dir); err != nil {
			return err
		}
		if time.Since(begun) > time.Second {
			return errors.New("another process listens in its place")
		}
	}
}

// removeDead removes the socket of a process that has died, and leaves
// anything else alone.
func (p controlPlace) removeDead(dir *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), p.name, &st, unix.AT_SYMLINK_NOFOLLOW); err == unix.ENOENT {
		return nil
	} else if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || int(st.Uid) != p.owner {
		return errors.New("something else has the name of the socket")
	}
	conn, err := net.DialTimeout("unix", p.within(dir), controlPatience)
	if err == nil {
		return conn.Close()
	}
	if errors.Is(err, unix.ECONNREFUSED) {
		err = unix.Unlinkat(int(dir.Fd()), p.name, 0)
	}
	if errors.Is(err, unix.ENOENT) { // its process has removed it meanwhile
		return nil
	}
	return err
}

// sweepControl removes the socket of a mount whose process has died. The
// mount must still be there: it keeps others from having the number.
func sweepControl(m mount.Entry, getenv func(string) string) {
	place, err := placeOf(m, getenv)
	if err != nil {
		return
	}
	if dir, err := place.open(false); err == nil {
		_ = place.removeDead(dir) // the next mount of this number would remove it, too
		dir.Close()
	}
}

// close removes the socket. Clients are left to their deadlines.
func (c *control) close() {
	var st unix.Stat_t
	if unix.Fstatat(int(c.dir.Fd()), c.place.name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Ino == c.ino {
		unix.Unlinkat(int(c.dir.Fd()), c.place.name, 0)
	}
	c.listener.Close()
	c.cancel()
	c.dir.Close()
}

func (c *control) run() {
	for {
		conn, err := c.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors
			time.Sleep(100 * time.Millisecond)
			continue
		}
		select {
		case c.slots <- struct{}{}:
			go func() {
				defer func() { conn.Close(); <-c.slots }()
				c.converse(conn)
			}()
		default:
			send(conn, response{Error: "too many requests at a time", Hint: "try again in a moment"})
			conn.Close()
		}
	}
}

// converse answers one request.
func (c *control) converse(conn *net.UnixConn) {
	conn.SetDeadline(time.Now().Add(controlPatience))
	uid, err := peerUID(conn)
	if err != nil || uid != 0 && uid != os.Geteuid() {
		send(conn, response{Error: "only root and the user who mounted may ask"})
		return
	}
	line, err := bufio.NewReader(io.LimitReader(conn, maxRequest)).ReadBytes('\n')
	if err == io.EOF {
		send(conn, response{Error: "a request must be one line of at most 64 KiB"})
		return
	}
	if err != nil {
		return
	}
	r, err := parseRequest(line)
	if err != nil {
		send(conn, response{Error: err.Error()})
		return
	}
	a := c.reply(c.ctx, uid, r)
	conn.SetDeadline(time.Now().Add(controlPatience))
	send(conn, a)
	if a.after != nil {
		a.after()
	}
}

func send(conn *net.UnixConn, v any) {
	if b, err := json.Marshal(v); err == nil {
		conn.Write(append(b, '\n'))
	}
}

// peerUID is who has the other end, as the kernel noted when it connected or
// listened.
func peerUID(conn *net.UnixConn) (uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = int(cred.Uid)
		}
	})
	return uid, errors.Join(cerr, err)
}
