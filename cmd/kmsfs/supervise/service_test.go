package supervise

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A main process that is told to end leaves its server, before and after that has
// begun; what else it is told it passes on.
func TestMainProcessLeavesItsServer(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		synctest.Test(t, func(t *testing.T) {
			f := newFamily()
			f.service = true
			signals := make(chan os.Signal, 2)
			s := f.born()
			signals <- syscall.SIGHUP
			time.AfterFunc(time.Second, func() { signals <- sig })
			if err := f.succeed(s, signals); err != errLeft {
				t.Error(err)
			}
			if got := s.process.(*fakeProcess).signals; len(got) != 1 || got[0] != syscall.SIGHUP {
				t.Errorf("it was sent %v", got)
			}
			time.Sleep(time.Hour)
		})
		synctest.Test(t, func(t *testing.T) {
			f := newFamily()
			f.service = true
			signals := make(chan os.Signal, 1)
			signals <- sig
			s := &server{process: &fakeProcess{}, ready: make(chan bool), exited: make(chan error)}
			if err := f.wait(s, signals); err != errLeft {
				t.Error(err)
			}
		})
	}
}

// A server that does not begin in time is killed, and another one follows.
func TestServerThatDoesNotBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFamily()
		f.last = 3
		late := &server{process: &fakeProcess{}, pid: 100, ready: make(chan bool, 1), exited: make(chan error, 1), late: time.After(beginPatience)}
		f.servers = append(f.servers, late)
		time.AfterFunc(beginPatience+time.Second, func() { late.ready <- false; late.exited <- errKilled })
		begun := time.Now()
		if err := f.succeed(late, nil); err != nil {
			t.Error(err)
		}
		if got := late.process.(*fakeProcess).signals; len(got) != 1 || got[0] != os.Kill || !late.overdue {
			t.Errorf("it was sent %v", got)
		}
		if len(f.servers) != 3 || time.Since(begun) > 3*time.Minute {
			t.Errorf("%d servers in %v", len(f.servers), time.Since(begun))
		}
	})
	synctest.Test(t, func(t *testing.T) { // and one that does is not
		f := newFamily()
		f.last, f.lives = 1, time.Hour
		s := f.born()
		s.late = time.After(beginPatience)
		if err := f.wait(s, nil); err != nil || s.late != nil || !s.answers {
			t.Error(err)
		}
		if err := f.succeed(s, nil); err != nil || len(s.process.(*fakeProcess).signals) > 0 {
			t.Errorf("%v, %v", err, s.process.(*fakeProcess).signals)
		}
	})
}

// A server for which somebody waits in vain is killed.
func TestHungServerIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFamily()
		f.hung = make(chan struct{})
		s := f.born()
		f.last = 2
		go func() { f.hung <- struct{}{} }()
		if err := f.succeed(s, nil); err != nil {
			t.Error(err)
		}
		if got := s.process.(*fakeProcess).signals; len(got) != 1 || got[0] != os.Kill || !strings.Contains(f.log.String(), "does not answer") {
			t.Errorf("it was sent %v; %s", got, &f.log)
		}
	})
}

// One that ends well without ever having answered has not ended the mount.
func TestServerThatEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFamily()
		first := f.born()
		<-first.ready
		f.answers, f.last = false, 2
		err := f.succeed(first, nil)
		if err == nil || len(f.servers) < maxStillborn {
			t.Errorf("%v after %d servers", err, len(f.servers))
		}
	})
}

// The watchdog hears of a main process without a server, as long as it is fed.
func TestWatchdogIsFedBeforeTheServer(t *testing.T) {
	conn := listenAt(t, "@"+t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { feed(ctx, 30*time.Millisecond); close(ended) }()
	for range 3 {
		if text := hear(t, conn); text != "WATCHDOG=1" {
			t.Errorf("%q", text)
		}
	}
	cancel()
	<-ended
	feed(t.Context(), 0) // nobody wants to hear
}

// A mount that answers is let alone; one that does not is reported.
func TestWatchReportsAMountThatHangs(t *testing.T) {
	h := &holder{hung: make(chan struct{}), Config: Config{Point: t.TempDir()}}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	h.watch(ctx, 6*time.Millisecond)
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Error("it ended before it was told")
	}
	h.watch(t.Context(), 0)
}
