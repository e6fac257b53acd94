package main

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
	"github.com/kmsfs/kmsfs/fs"
)

// consult asks the daemon of a mount. The mount itself is not touched: it may
// hang, or its daemon may be dead.
func (p *program) consult(verb, mnt string, request func(point string) (request, error)) (response, error) {
	fail := func(err error) *ui.Failure { return ui.Failf("%s %s: %w", verb, ui.Quote(mnt), err) }
	point, err := realPoint(mnt)
	if err != nil {
		return response{}, fail(ui.Cause(err))
	}
	m, ok, err := fs.MountAt(point)
	if err != nil {
		return response{}, err
	}
	if !ok || m.Type != fs.Type {
		return response{}, fail(errors.New("kmsfs is not mounted there")).Hint("findmnt -t %s lists the mounts", fs.Type)
	}
	r, err := request(point)
	if err != nil {
		return response{}, err
	}
	conn, err := p.dial(m)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return response{}, fail(errors.New("the process that served it has died")).Hint("kmsfs umount %s, then mount it again", ui.Quote(mnt))
	case errors.Is(err, os.ErrNotExist):
		return response{}, fail(errors.New("it has no control socket here")).Hint("its log says why; a process that has ended has none either, and so has a mount from another container")
	case errors.Is(err, os.ErrPermission):
		return response{}, fail(syscall.EACCES).Hint("run as root or as the user who mounted it")
	case err != nil:
		return response{}, fail(ui.Cause(err))
	}
	defer conn.Close()
	a, err := converse(conn, r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return response{}, fail(errors.New("the process that serves it does not answer"))
	}
	if err != nil {
		return response{}, fail(ui.Cause(err))
	}
	if a.Error != "" {
		return a, fail(errors.New(a.Error)).Hint("%s", a.Hint)
	}
	return a, nil
}

// dial connects to the daemon of a mount, and to nobody else.
func (p *program) dial(m fs.MountEntry) (*net.UnixConn, error) {
	place, err := placeOf(m, p.getenv)
	if err != nil {
		return nil, err
	}
	dir, err := place.open(false)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	c, err := net.DialTimeout("unix", place.within(dir), controlPatience)
	if err != nil {
		return nil, errnoOf(err)
	}
	conn := c.(*net.UnixConn)
	if uid, err := peerUID(conn); err != nil || uid != 0 && uid != place.owner {
		conn.Close()
		return nil, fmt.Errorf("its socket is served by uid %d, not by uid %d", uid, place.owner)
	}
	return conn, nil
}

func converse(conn *net.UnixConn, r request) (response, error) {
	patience := controlPatience
	if r.Verb == "flush" {
		patience += flushPatience
	}
	conn.SetDeadline(time.Now().Add(patience))
	send(conn, r)
	var a response
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
