package daemon

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// asyncLog is a log whose reader may stop reading: an open does not wait for
// it. Lines that find no room are counted.
type asyncLog struct {
	lines   chan []byte
	done    chan struct{}
	dropped atomic.Uint64
	loss    func(lines uint64) []byte // a line that says so
	text    bool                      // a message may be many lines
	ended   bool                      // the last line was taken; of the writing goroutine
}

// joinMax is about the longest write, in bytes.
const joinMax = 16 << 10

// newTextLog is an asyncLog whose lines may be written many at a time.
func newTextLog(w io.Writer) *asyncLog { return startAsyncLog(w, true, textLoss) }

// newAsyncLog is one whose reader takes each write for a message.
func newAsyncLog(w io.Writer, loss func(uint64) []byte) *asyncLog {
	return startAsyncLog(w, false, loss)
}

func startAsyncLog(w io.Writer, text bool, loss func(uint64) []byte) *asyncLog {
	u := &asyncLog{lines: make(chan []byte, 4096), done: make(chan struct{}), loss: loss, text: text}
	go func() {
		defer close(u.done)
		for line := range u.lines {
			if line == nil {
				return
			}
			if n := u.dropped.Swap(0); n > 0 {
				w.Write(u.loss(n))
			}
			w.Write(u.joined(line))
			if u.ended {
				return
			}
		}
	}()
	return u
}

// joined is a line, and as many as fit of those that wait behind it where the
// reader takes text: one write costs as much as another.
func (u *asyncLog) joined(line []byte) []byte {
	for u.text && len(line) < joinMax {
		select {
		case more := <-u.lines:
			if more == nil {
				u.ended = true
				return line
			}
			line = append(line, more...)
		default:
			return line
		}
	}
	return line
}

func textLoss(lines uint64) []byte {
	return fmt.Appendf(nil, "level=WARN msg=\"log lines lost\" lines=%d\n", lines)
}

func (u *asyncLog) Write(p []byte) (int, error) {
	select {
	case u.lines <- bytes.Clone(p):
	default:
		u.dropped.Add(1)
	}
	return len(p), nil
}

// close waits a little for what is still to be written. Handlers that have
// not ended may still log; that goes nowhere.
func (u *asyncLog) close() {
	late := time.After(time.Second)
	select {
	case u.lines <- nil:
	case <-late:
	}
	select {
	case <-u.done:
	case <-late:
	}
}
