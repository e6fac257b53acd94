package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

// serving listens at an endpoint until the test ends.
func serving(t *testing.T, h Handlers) endpoint {
	t.Helper()
	at := someEndpoint(t)
	s, err := newServer(at, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return at
}

// say sends text and returns the answer.
func say(t *testing.T, at endpoint, text string) (a Response) {
	t.Helper()
	conn, err := at.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil {
		t.Fatalf("%.80q: %v", text, err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func tipOf(err error) string {
	f, _ := errors.AsType[*ui.Failure](err)
	return f.Tip
}

func TestStatusIsAnswered(t *testing.T) {
	at := serving(t, Handlers{Status: func() *Status { return &Status{PID: 4711, Open: "fast"} }})
	a, err := at.call("/m", Request{Verb: VerbStatus})
	var got Status
	if err != nil || json.Unmarshal(a.Status, &got) != nil || got.PID != 4711 || got.Open != "fast" || a.Flush != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// The daemon learns who asks and for which paths, and has so much time.
func TestFlushIsHandedOn(t *testing.T) {
	var paths []string
	at := serving(t, Handlers{Flush: func(ctx context.Context, uid int, asked []string) (*Flushed, error) {
		paths = asked
		if late, ok := ctx.Deadline(); !ok || time.Until(late) > flushPatience || uid != os.Geteuid() {
			t.Errorf("for uid %d until %v", uid, late)
		}
		return &Flushed{Plaintexts: len(asked)}, nil
	}})
	for _, c := range []struct{ ask, want []string }{
		{nil, nil},
		{[]string{"a", "b/c\xff"}, []string{"a", "b/c\xff"}},
		{[]string{"a", "."}, nil}, // the mount itself
	} {
		r := Request{Verb: VerbFlush}
		for _, path := range c.ask {
			r.Paths = append(r.Paths, []byte(path))
		}
		a, err := at.call("/m", r)
		if err != nil || a.Flush == nil || a.Flush.Plaintexts != len(c.want) || !slices.Equal(paths, c.want) {
			t.Errorf("%q: %+v, %v; the daemon got %q", c.ask, a.Flush, err, paths)
		}
	}
}

// What the daemon refuses, its client says, and what to do about it.
func TestRefusalsHaveHints(t *testing.T) {
	refused := ui.Failf("not now").Hint("try later")
	at := serving(t, Handlers{
		Status: func() *Status { return &Status{} },
		Flush:  func(context.Context, int, []string) (*Flushed, error) { return &Flushed{3}, refused },
		Reload: func(int) (func(), error) { return nil, errors.New("never") },
	})
	if a, err := at.call("/m", Request{Verb: VerbFlush}); err == nil || err.Error() != `flush "/m": not now` || tipOf(err) != "try later" || a.Flush.Plaintexts != 3 {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := at.call("/m", Request{Verb: VerbReload}); err == nil || err.Error() != `reload "/m": never` || tipOf(err) != "" || a.Status != nil {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := at.call("/m", Request{Verb: "stop"}); err == nil || err.Error() != `stop "/m": unknown verb` {
		t.Errorf("%v", err)
	}
}

// A reload is answered with the status of the process that ends, and begins
// when its answer has been sent.
func TestReloadBeginsAfterItsAnswer(t *testing.T) {
	begun := make(chan struct{})
	at := serving(t, Handlers{
		Status: func() *Status { return &Status{PID: 1} },
		Reload: func(int) (func(), error) { return func() { <-begun }, nil }, // the answer does not wait for it
	})
	a, err := at.call("/m", Request{Verb: VerbReload})
	if err != nil || !strings.Contains(string(a.Status), `"pid":1`) {
		t.Errorf("%s, %v", a.Status, err)
	}
	close(begun)
}

func TestOddRequests(t *testing.T) {
	at := serving(t, silent)
	for text, want := range map[string]string{
		strings.Repeat("x", maxRequest):            "at most 64 KiB",
		"{\n":                                      "not a request of this version",
		`{"verb":"status"}{"verb":"x"}` + "\n":     "more than one request",
		`{"verb":"flush","paths":["L2E="]}` + "\n": "not below the mount",
	} {
		if a := say(t, at, text); !strings.Contains(a.Error, want) {
			t.Errorf("%.40q: %+v", text, a)
		}
	}
}

// So many who say nothing take all the room there is, and no more: the next one
// is sent away at once, and room that is left is given again.
func TestCrowdIsSentAway(t *testing.T) {
	at := serving(t, Handlers{Status: func() *Status { return &Status{} }})
	var crowd []*net.UnixConn
	for range maxClients {
		conn, err := at.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		crowd = append(crowd, conn)
	}
	ask := func() error { _, err := at.call("/m", Request{Verb: VerbStatus}); return err }
	if err := ask(); err == nil {
		t.Error("there was room for one more")
	}
	crowd[0].Close()
	for late := time.Now().Add(20 * time.Second); ask() != nil; {
		if time.Now().After(late) {
			t.Fatalf("no room after one has left: %v", ask())
		}
	}
}
