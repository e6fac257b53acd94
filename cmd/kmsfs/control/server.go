package control

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

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
)

// maxClients bounds the connections at a time.
const maxClients = 8

// Server is the daemon's end of the control socket. It has nothing to do
// with serving files: a client that stalls holds one of a few connections
// until its deadline, and nothing else.
//
// INVARIANT: the name is removed while the socket listens. A process
// that finds one that refuses connections knows that its owner has died, and
// may put its own there.
type Server struct {
	endpoint endpoint
	dir      *os.File // O_PATH
	ino      uint64   // of the socket
	listener *net.UnixListener
	slots    chan struct{}
	handlers Handlers
	ctx      context.Context
	cancel   context.CancelFunc
}

// Handlers is what the daemon brings: what each verb does.
type Handlers struct {
	Status func() *Status
	// Flush forgets the plaintext of these paths, or of all. uid is who asks.
	Flush func(ctx context.Context, uid int, paths []string) (*Flushed, error)
	// Reload says whether a new program can take over. What it returns makes it
	// do so, when the answer has been sent.
	Reload func(uid int) (begin func(), err error)
	// Succeed gives what is served to who has the other end, and stops when
	// that is ready. nil: there is nobody who could ask.
	Succeed func(conn *net.UnixConn)
}

// Listen listens beside the mount at point.
func Listen(point string, getenv func(string) string, h Handlers) (*Server, error) {
	m, ok, err := mount.At(point)
	if err != nil {
		return nil, err
	}
	if !ok || m.Type != mount.Type {
		return nil, errors.New("another file system is mounted over this one")
	}
	at, err := endpointOf(m, getenv)
	if err != nil {
		return nil, err
	}
	return newServer(at, h)
}

func newServer(at endpoint, h Handlers) (*Server, error) {
	dir, err := at.open(true)
	if err != nil {
		return nil, err
	}
	s := &Server{endpoint: at, dir: dir, slots: make(chan struct{}, maxClients), handlers: h}
	if err := s.listen(); err != nil {
		dir.Close()
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.accept()
	return s, nil
}

// listen binds the name. A process that served an earlier mount of this
// number may be about to end: it is given a moment to remove its socket.
func (s *Server) listen() error {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if cerr := raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return err
	}}
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		l, err := config.Listen(context.Background(), "unix", s.endpoint.within(s.dir))
		if err == nil {
			s.listener = l.(*net.UnixListener)
			s.listener.SetUnlinkOnClose(false) // see close
			var st unix.Stat_t
			err = unix.Fstatat(int(s.dir.Fd()), s.endpoint.name, &st, unix.AT_SYMLINK_NOFOLLOW)
			s.ino = st.Ino
			return err
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
		if err := s.endpoint.removeDead(s.dir); err != nil {
			return err
		}
		if time.Since(begun) > time.Second {
			return errors.New("another process listens in its place")
		}
	}
}

// removeDead removes the socket of a process that has died, and leaves
// anything else alone.
func (p endpoint) removeDead(dir *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), p.name, &st, unix.AT_SYMLINK_NOFOLLOW); err == unix.ENOENT {
		return nil
	} else if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || int(st.Uid) != p.owner {
		return errors.New("something else has the name of the socket")
	}
	conn, err := net.DialTimeout("unix", p.within(dir), patience)
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

// Sweep removes the socket of a mount whose process has died. The
// mount must still be there: it keeps others from having the number.
func Sweep(m mount.Entry, getenv func(string) string) {
	at, err := endpointOf(m, getenv)
	if err != nil {
		return
	}
	if dir, err := at.open(false); err == nil {
		_ = at.removeDead(dir) // the next mount of this number would remove it, too
		dir.Close()
	}
}

// Close removes the socket. Clients are left to their deadlines.
func (s *Server) Close() {
	var st unix.Stat_t
	if unix.Fstatat(int(s.dir.Fd()), s.endpoint.name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Ino == s.ino {
		unix.Unlinkat(int(s.dir.Fd()), s.endpoint.name, 0)
	}
	s.listener.Close()
	s.cancel()
	s.dir.Close()
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors
			time.Sleep(100 * time.Millisecond)
			continue
		}
		select {
		case s.slots <- struct{}{}:
			go func() {
				defer func() { conn.Close(); <-s.slots }()
				s.serve(conn)
			}()
		default:
			send(conn, Response{Error: "too many requests at a time", Hint: "try again in a moment"})
			conn.Close()
		}
	}
}

// serve answers one request.
func (s *Server) serve(conn *net.UnixConn) {
	conn.SetDeadline(time.Now().Add(patience))
	uid, err := peerUID(conn)
	if err != nil || uid != 0 && uid != os.Geteuid() {
		send(conn, Response{Error: "only root and the user who mounted may ask"})
		return
	}
	line, err := bufio.NewReader(io.LimitReader(conn, maxRequest)).ReadBytes('\n')
	if err == io.EOF {
		send(conn, Response{Error: "a request must be one line of at most 64 KiB"})
		return
	}
	if err != nil {
		return
	}
	r, err := parseRequest(line)
	if err != nil {
		send(conn, Response{Error: err.Error()})
		return
	}
	if r.Verb == VerbSucceed && uid == 0 && s.handlers.Succeed != nil {
		s.handlers.Succeed(conn)
		return
	}
	a, after := s.handle(uid, r)
	conn.SetDeadline(time.Now().Add(patience))
	send(conn, a)
	if after != nil {
		after()
	}
}

// handle does what a verb says. After, if there is one, is for when the answer
// has been sent.
func (s *Server) handle(uid int, r Request) (a Response, after func()) {
	switch r.Verb {
	case VerbStatus:
		return s.status(), nil
	case VerbFlush:
		return s.flush(uid, r), nil
	case VerbReload:
		return s.reload(uid)
	}
	return Response{Error: "unknown verb"}, nil
}

func (s *Server) status() Response {
	b, err := json.Marshal(s.handlers.Status())
	if err != nil {
		return Response{Error: err.Error()}
	}
	return Response{Status: b}
}

func (s *Server) flush(uid int, r Request) Response {
	ctx, cancel := context.WithTimeout(s.ctx, flushPatience)
	defer cancel()
	done, err := s.handlers.Flush(ctx, uid, r.paths())
	if err != nil {
		return refusal(err, done)
	}
	return Response{Flush: done}
}

func (s *Server) reload(uid int) (Response, func()) {
	a := s.status()
	if a.Error != "" {
		return a, nil
	}
	begin, err := s.handlers.Reload(uid)
	if err != nil {
		return refusal(err, nil), nil
	}
	return a, begin
}

// refusal has the hint that the error brings.
func refusal(err error, done *Flushed) Response {
	a := Response{Error: err.Error(), Flush: done}
	if f, ok := errors.AsType[*ui.Failure](err); ok {
		a.Hint = f.Tip
	}
	return a
}

func send(conn *net.UnixConn, v any) {
	if b, err := json.Marshal(v); err == nil {
		conn.Write(append(b, '\n'))
	}
}

// peerUID is who has the other end, as the kernel noted when it connected or
// listened.
func peerUID(conn *net.UnixConn) (int, error) {
	peer, err := peerOf(conn)
	if err != nil {
		return -1, err
	}
	return int(peer.Uid), nil
}

func peerOf(conn *net.UnixConn) (peer *unix.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return peer, errors.Join(cerr, err)
}
