package session

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// What systemd asks is called off after a second, and what others ask is not; nor
// is what the first process asks where that is not systemd.
func TestSystemdIsNotKeptWaiting(t *testing.T) {
	for _, c := range []struct {
		pid     uint32
		systemd bool
		want    unix.Errno
	}{{1, true, unix.ETIMEDOUT}, {1, false, 0}, {2, true, 0}} {
		k := newFakeKernel(t)
		k.pid = c.pid
		reason := make(chan error, 1)
		h := &verbs{getattr: func(r *Request) fuse.Status {
			ctx := r.Context()
			select {
			case <-ctx.Done():
				reason <- ctx.Err()
				return fuse.EINTR
			case <-time.After(urgentPatience + 300*time.Millisecond): // as long as the slowest answer would take
				return fuse.OK
			}
		}}
		s, err := open(&Lifeline{Device: k.device, Journal: k.journal},
			Config{Handler: h, IsLocal: func() bool { return true }, Systemd: c.systemd, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		s.Serve()
		begun := time.Now()
		a := k.call(opGetattr, 2, getattr)
		if unix.Errno(a.errno) != c.want {
			t.Errorf("%+v: %v after %v", c, a.errno, time.Since(begun))
		}
		if c.want != 0 {
			if err := <-reason; err != context.DeadlineExceeded {
				t.Errorf("called off because of %v", err)
			}
		}
		// The next request of the same reader has its whole time.
		h.getattr = func(r *Request) fuse.Status {
			if r.GaveUp() {
				return fuse.EINTR
			}
			return fuse.OK
		}
		if a := k.call(opGetattr, 2, getattr); a.errno != 0 {
			t.Errorf("%+v: afterwards %v", c, a.errno)
		}
		k.end(s)
	}
}
