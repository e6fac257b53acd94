package audit

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sink is a log that can be made to fail, and to stand still.
type sink struct {
	slog.Handler
	mu    sync.Mutex
	err   error
	lines []string // the paths of records, or the message of another line
	times []time.Time
	stop  sync.Mutex // held: nothing is written
}

func (s *sink) Enabled(context.Context, slog.Level) bool { return true }

func (s *sink) Handle(_ context.Context, r slog.Record) error {
	s.stop.Lock()
	defer s.stop.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "path" {
			line = a.Value.String()
		}
		return true
	})
	s.lines, s.times = append(s.lines, line), append(s.times, r.Time)
	return nil
}

func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *sink) written() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// A record is taken at once and written soon, in order, with the time at which it
// was taken; many are written together.
func TestRecordsAreWrittenSoonInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		l := New(slog.New(s), false)
		begun := time.Now()
		l.Record(Open{Path: "a"})
		time.Sleep(together / 2)
		l.Record(Open{Path: "b"})
		synctest.Wait()
		if got := s.written(); len(got) != 0 {
			t.Fatalf("written one by one: %q", got)
		}
		time.Sleep(together / 2)
		synctest.Wait()
		if got := s.written(); !slices.Equal(got, []string{"a", "b"}) || !s.times[0].Equal(begun) || !s.times[1].Equal(begun.Add(together/2)) {
			t.Fatalf("%q at %v", got, s.times)
		}
		l.Record(Open{Path: "c"})
		time.Sleep(together)
		synctest.Wait()
		if got := s.written(); len(got) != 3 {
			t.Errorf("%q", got)
		}
	})
}

// A log that stands still stops nobody where records are chatter: those
// that find no room are counted, and the log says how many. Where they are required, an open
// that cannot be recorded fails.
func TestFullQueue(t *testing.T) {
	for _, required := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &sink{}
			l := New(slog.New(s), required)
			s.stop.Lock()
			refused := 0
			for i := range queueMax + 10 {
				if err := l.Record(Open{Path: "x"}); errors.Is(err, errFull) {
					refused++
				} else if err != nil {
					t.Fatal(i, err)
				}
			}
			s.stop.Unlock()
			time.Sleep(together)
			synctest.Wait()
			want := queueMax + 1 // with the line that says so
			if required {
				want = queueMax
			}
			got := s.written()
			if required != (refused == 10) || !required && (refused != 0 || got[queueMax] != "records lost") || len(got) != want {
				t.Errorf("required %v: %d refused, %d lines", required, refused, len(got))
			}
			if err := l.Record(Open{Path: "y"}); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			l.Flush()
		})
	}
}

// Where records are required and cannot be written, opens fail until they can, and
// what was taken before is written then, once. Elsewhere nobody cares.
func TestBrokenLog(t *testing.T) {
	for _, required := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &sink{}
			l := New(slog.New(s), required)
			full := errors.New("no space left on device")
			l.Record(Open{Path: "a"})
			l.Flush()
			s.fail(full)
			if err := l.Record(Open{Path: "b"}); err != nil {
				t.Errorf("nobody knows yet: %v", err)
			}
			time.Sleep(together)
			synctest.Wait()
			if err := l.Record(Open{Path: "c"}); required != errors.Is(err, full) {
				t.Errorf("required %v, while the log is broken: %v", required, err)
			}
			time.Sleep(10 * retryAfter)
			s.fail(nil)
			time.Sleep(retryAfter)
			synctest.Wait()
			if err := l.Record(Open{Path: "d"}); err != nil {
				t.Errorf("required %v, afterwards: %v", required, err)
			}
			l.Flush()
			want := []string{"a", "d"}
			if required {
				want = []string{"a", "b", "d"}
			}
			if got := s.written(); !slices.Equal(got, want) {
				t.Errorf("required %v: %q, want %q", required, got, want)
			}
		})
	}
}
