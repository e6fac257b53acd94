package audit

import (
	"errors"
	"sync"
	"time"
)

const (
	// queueMax is how many records may wait, some 1 MB.
	queueMax = 4096
	// together is how long a record may wait for others. Waking a writer for each
	// record would cost an open more than the record does.
	together = 2 * time.Millisecond
	// retryAfter is the pause after a record that could not be written.
	retryAfter = 100 * time.Millisecond
)

// errFull and a writer's error keep opens from being answered where records are
// required.
var errFull = errors.New("too many records wait to be written")

// queue takes records at once and writes them soon, in the order in which they
// were taken.
//
// INVARIANT: where records are required, one that was taken stays until it is
// written, and while one cannot be written none is taken. Elsewhere what finds
// no room is counted, and the log says how many.
// INVARIANT: while a record waits, the timer runs or flush is at work.
type queue struct {
	required bool
	write    func(o *Open, at time.Time) error
	missing  func(records int) // is told of those that found no room
	timer    *time.Timer

	writing sync.Mutex // held while records are written; taken before mu

	mu      sync.Mutex
	waiting []record
	spare   []record
	due     bool // the timer runs
	broken  error
	lost    int
}

type record struct {
	Open
	at time.Time
}

func (q *queue) init(required bool, write func(*Open, time.Time) error, missing func(int)) {
	q.required, q.write, q.missing = required, write, missing
	q.timer = time.AfterFunc(time.Hour, q.flush)
	q.timer.Stop()
}

func (q *queue) put(o Open, at time.Time) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.broken != nil:
		return q.broken
	case len(q.waiting) < queueMax:
		q.waiting = append(q.waiting, record{o, at})
		q.schedule(together)
	case q.required:
		return errFull
	default:
		q.lost++
	}
	return nil
}

// schedule starts the timer. Under mu.
func (q *queue) schedule(after time.Duration) {
	if !q.due {
		q.due = true
		q.timer.Reset(after)
	}
}

// flush writes what waits.
func (q *queue) flush() {
	q.writing.Lock()
	defer q.writing.Unlock()
	q.mu.Lock()
	batch, lost := q.waiting, q.lost
	q.waiting, q.spare, q.lost, q.due = q.spare[:0], nil, 0, false
	q.mu.Unlock()
	written, err := q.writeAll(batch)
	if lost > 0 {
		q.missing(lost)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.broken = err; err != nil {
		q.waiting = append(batch[written:], q.waiting...)
		q.schedule(retryAfter)
		return
	}
	clear(batch)
	q.spare = batch
}

// writeAll returns how many records are done with, and why the next one, which
// is required, is not.
func (q *queue) writeAll(batch []record) (int, error) {
	for i := range batch {
		if err := q.write(&batch[i].Open, batch[i].at); err != nil && q.required {
			return i, err
		}
	}
	return len(batch), nil
}
