package supervise

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

// fakeProcess ends when a test says so.
type fakeProcess struct {
	end      chan error
	signals  []os.Signal
	headless func() bool // its first thread has ended
}

func (p *fakeProcess) Signal(s os.Signal) error { p.signals = append(p.signals, s); return nil }
func (p *fakeProcess) Wait() error              { return <-p.end }
func (p *fakeProcess) Stranded() bool           { return p.headless() }

var errKilled = errors.New("signal: killed")

// family is a holder whose servers are the test's.
type family struct {
	*holder
	log      bytes.Buffer
	servers  []*server
	answers  bool // the next servers
	lives    time.Duration
	goes     time.Time // the mount; zero: never
	hidden   bool      // from every path
	lastword string
	last     int // the server that ends well; 0: none
}

func newFamily() *family {
	f := &family{answers: true, lives: time.Minute}
	f.holder = &holder{Config: Config{Point: "/m"}, log: slog.New(slog.NewTextHandler(&f.log, nil))}
	f.spawn = func() (*server, error) { return f.born(), nil }
	f.ended = func() bool { return !f.goes.IsZero() && !time.Now().Before(f.goes) }
	f.detached = func() bool { return f.hidden }
	return f
}

// born is a server that answers or does not, and is killed after its life.
func (f *family) born() *server {
	s := &server{process: &fakeProcess{}, pid: 100 + len(f.servers), ready: make(chan bool, 1), exited: make(chan error, 1)}
	s.stderr.WriteString(f.lastword)
	f.servers = append(f.servers, s)
	answers, lives, cause := f.answers, f.lives, errKilled
	if len(f.servers) == f.last {
		cause = nil
	}
	go func() {
		s.ready <- answers
		if answers {
			time.Sleep(lives)
		}
		s.exited <- cause
	}()
	return s
}

// The mount goes on as long as somebody can serve it, and a server that ends
// well has ended it.
func TestServersFollowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFamily()
		f.lastword = "panic: \x1b[31mred\nmore"
		f.last = 101
		if err := f.succeed(f.born(), nil); err != nil {
			t.Error(err)
		}
		if n := len(f.servers); n != 101 {
			t.Errorf("%d servers", n)
		}
		if line, _, _ := strings.Cut(f.log.String(), "\n"); !strings.Contains(line, "server died (signal: killed), successor took over") || !strings.Contains(line, "died=100 pid=101") || strings.Contains(line, "more") || strings.Contains(line, "\x1b") {
			t.Errorf("the log says %q", line)
		}
	})
}

// Nobody follows where nothing is left to serve.
func TestNobodyFollows(t *testing.T) {
	for name, c := range map[string]struct {
		gone, hidden bool
		want         error
	}{"the connection has ended": {true, false, errKilled}, "the mount is detached": {false, true, nil}} {
		synctest.Test(t, func(t *testing.T) {
			f := newFamily()
			f.hidden = c.hidden
			if c.gone {
				f.goes = time.Now()
			}
			if err := f.succeed(f.born(), nil); !errors.Is(err, c.want) || len(f.servers) != 1 || c.hidden != strings.Contains(f.log.String(), "was detached") {
				t.Errorf("%s: %v, %d servers, %s", name, err, len(f.servers), &f.log)
			}
		})
	}
}

// Something that kills every server is not fed for ever.
func TestDeathsAreCounted(t *testing.T) {
	for _, c := range []struct {
		answers bool
		lives   time.Duration
		servers int
		want    string
	}{
		{false, 0, maxStillborn, "5 servers in a row died before they answered; the last one: signal: killed"},
		{true, 300 * time.Millisecond, maxDeaths, "30 servers died within 10s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFamily()
			first := f.born()
			<-first.ready
			f.answers, f.lives = c.answers, c.lives
			err := f.succeed(first, nil)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if n := len(f.servers); n < c.servers || n > c.servers+2 {
				t.Errorf("%d servers, want about %d", n, c.servers)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // rare enough
		f := newFamily()
		f.lives = deathsWithin / (maxDeaths - 2)
		f.goes = time.Now().Add(time.Hour)
		if err := f.succeed(f.born(), nil); err != errKilled {
			t.Error(err)
		}
	})
}

// The signals of the holder are those of the server that serves.
func TestSignalsArePassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFamily()
		signals := make(chan os.Signal)
		time.AfterFunc(90*time.Second, func() { signals <- syscall.SIGHUP; signals <- syscall.SIGTERM })
		f.goes = time.Now().Add(100 * time.Second)
		f.succeed(f.born(), signals)
		if first, second := f.servers[0].process.(*fakeProcess), f.servers[1].process.(*fakeProcess); len(first.signals) != 0 || len(second.signals) != 2 || second.signals[1] != syscall.SIGTERM {
			t.Errorf("%v, %v", first.signals, second.signals)
		}
	})
}

// The first server has said itself why it could not begin.
func TestFirstServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFamily()
		if err := f.wait(f.born(), nil); err != nil {
			t.Error(err)
		}
		f.answers = false
		if err := f.wait(f.born(), nil); err == nil || err.Error() != "mount: the server died before it was ready (signal: killed)" {
			t.Error(err)
		}
		time.Sleep(time.Hour)
	})
	// One of the system's, which ends at once.
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	h := &holder{Config: Config{Name: "test", Args: []string{"-no-such-flag"}, Stdout: io.Discard, Stderr: io.Discard}, theirs: read}
	if h.good, err = ownProgram(); err != nil {
		t.Fatal(err)
	}
	s, err := h.start(legacy{give: null})
	if err != nil {
		t.Fatal(err)
	}
	if code, ok := errors.AsType[ui.ExitError](h.wait(s, nil)); !ok || code != 2 {
		t.Errorf("exit code %d", code)
	}
}

// A server that cannot end is not waited for; one that only seems to be so for a
// moment is.
func TestReap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fakeProcess{end: make(chan error, 1)}
		p.end <- errKilled
		if err := (&server{process: p}).reap(); err != errKilled {
			t.Error(err)
		}
		begun := time.Now()
		briefly := &fakeProcess{end: make(chan error, 1), headless: func() bool {
			since := time.Since(begun) - time.Second
			return since >= 0 && since < 3*lastLook
		}}
		time.AfterFunc(time.Hour, func() { briefly.end <- nil })
		if err := (&server{process: briefly}).reap(); err != nil || time.Since(begun) != time.Hour || len(briefly.signals) > 0 {
			t.Errorf("%v after %v, %v", err, time.Since(begun), briefly.signals)
		}
		begun = time.Now()
		p = &fakeProcess{end: make(chan error), headless: func() bool { return true }}
		if err := (&server{process: p}).reap(); err != errUnending || time.Since(begun) > 3*time.Second || len(p.signals) != 1 || p.signals[0] != os.Kill {
			t.Errorf("%v after %v, %v", err, time.Since(begun), p.signals)
		}
		p.end <- nil
	})
}
