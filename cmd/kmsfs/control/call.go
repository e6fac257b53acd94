package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
)

// Mount is the mount whose daemon is asked.
type Mount struct {
	mount.Entry
	Name   string // as the user wrote it, for messages
	Getenv func(string) string
}

// Call asks the daemon of a mount. The mount itself is not touched: it may
// hang, or its daemon may be dead.
func Call(m Mount, r Request) (Response, error) {
	at, err := endpointOf(m.Entry, m.Getenv)
	if err != nil {
		return Response{}, ui.Failf("%s %s: %w", r.Verb, ui.Quote(m.Name), err)
	}
	return at.call(m.Name, r)
}

// call asks who listens here for the mount of that name.
func (p endpoint) call(mnt string, r Request) (Response, error) {
	fail := func(err error) *ui.Failure { return ui.Failf("%s %s: %w", r.Verb, ui.Quote(mnt), err) }
	conn, err := p.dial()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Response{}, fail(errors.New("the process that served it has died")).
			Hint("kmsfs umount %s, then mount it again", ui.Quote(mnt))
	case errors.Is(err, os.ErrNotExist):
		return Response{}, fail(errors.New("it has no control socket here")).
			Hint("its log says why; a process that has ended has none either, and so has a mount from another container")
	case errors.Is(err, os.ErrPermission):
		return Response{}, fail(syscall.EACCES).Hint("run as root or as the user who mounted it")
	case err != nil:
		return Response{}, fail(ui.Cause(err))
	}
	defer conn.Close()
	a, err := exchange(conn, r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Response{}, fail(errors.New("the process that serves it does not answer"))
	}
	if err != nil {
		return Response{}, fail(ui.Cause(err))
	}
	if a.Error != "" {
		return a, fail(errors.New(a.Error)).Hint("%s", a.Hint)
	}
	return a, nil
}

// Succession is the server of a mount, asked to let another one follow. pid is its
// process.
func Succession(m mount.Entry, getenv func(string) string) (conn *net.UnixConn, pid int, err error) {
	at, err := endpointOf(m, getenv)
	if err != nil {
		return nil, 0, err
	}
	if conn, err = at.dial(); err != nil {
		return nil, 0, err
	}
	peer, err := peerOf(conn)
	if err != nil {
		conn.Close()
		return nil, 0, err
	}
	return conn, int(peer.Pid), nil
}

// AskToSucceed asks the server at the other end for what it serves. The answer is
// not ours to read.
func AskToSucceed(conn *net.UnixConn) {
	conn.SetDeadline(time.Now().Add(succeedPatience))
	send(conn, Request{Verb: VerbSucceed})
}

// dial connects to the daemon of a mount, and to nobody else.
func (p endpoint) dial() (*net.UnixConn, error) {
	dir, err := p.open(false)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	c, err := net.DialTimeout("unix", p.within(dir), patience)
	if err != nil {
		return nil, errnoOf(err)
	}
	conn := c.(*net.UnixConn)
	if uid, err := peerUID(conn); err != nil || uid != 0 && uid != p.owner {
		conn.Close()
		return nil, fmt.Errorf("its socket is served by uid %d, not by uid %d", uid, p.owner)
	}
	return conn, nil
}

func exchange(conn *net.UnixConn, r Request) (Response, error) {
	wait := patience
	switch r.Verb {
	case VerbFlush:
		wait += flushPatience
	case VerbReload:
		wait += reloadPatience
	}
	conn.SetDeadline(time.Now().Add(wait))
	send(conn, r)
	var a Response
	line, err := bufio.NewReader(io.LimitReader(conn, maxAnswer)).ReadBytes('\n')
	if err != nil {
		return a, errnoOf(err)
	}
	if json.Unmarshal(line, &a) != nil {
		return a, errors.New("the answer is not of this version")
	}
	return a, nil
}

// errnoOf drops the address from a network error, which says nothing here.
func errnoOf(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}
