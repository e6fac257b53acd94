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
}

func newAsyncLog(w io.Writer) *asyncLog {
	u := &asyncLog{lines: make(chan []byte, 4096), done: make(chan struct{}), loss: textLoss}
	go func() {
		defer close(u.done)
		for line := range u.lines {
			if line == nil {
				return
			}
			if n := u.dropped.Swap(0); n > 0 {
				w.Write(u.loss(n))
			}
			w.Write(line)
		}
	}()
	return u
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
