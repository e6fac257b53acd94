package gate

import "time"

// pump lets begin whoever may. It runs under queue.mu after everything that
// changes who may: an arrival, a departure, a free slot, a token.
func (q *queue) pump() {
	now := time.Now()
	for l := q.next(); l != nil; l = q.next() {
		if wait := q.pace.take(now); wait > 0 {
			q.wake(wait)
			return
		}
		q.grant(l)
	}
	if q.timer != nil {
		q.timer.Stop() // what is next to come is a free slot, or a call
	}
}

// wake pumps again when there is a token. The timer runs only while somebody
// waits for one.
func (q *queue) wake(in time.Duration) {
	if q.timer != nil {
		q.timer.Reset(in)
		return
	}
	q.timer = time.AfterFunc(in, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.pump()
	})
}

// next is the line whose turn it is. A line that may not take a slot keeps its
// turn. Such a line holds at least one slot, so not many are looked at.
func (q *queue) next() *line {
	if q.free == 0 {
		return nil
	}
	for e := q.ring.Front(); e != nil; e = e.Next() {
		if l := e.Value.(*line); l.held < q.free {
			return l
		}
	}
	return nil
}

// grant lets the first of a line begin, and the line's next turn is after all
// others'.
func (q *queue) grant(l *line) {
	w := l.waiting.Front().Value.(*waiter)
	l.held++ // first: a line that holds a slot is not dropped
	q.free--
	q.remove(w)
	if l.turn != nil {
		q.ring.MoveToBack(l.turn)
	}
	w.slot = l
	close(w.granted)
}

// remove takes a waiter out of all its lines.
func (q *queue) remove(w *waiter) {
	for _, p := range w.places {
		p.line.waiting.Remove(p.at)
		if p.line.waiting.Len() == 0 {
			q.ring.Remove(p.line.turn)
			p.line.turn = nil
			q.drop(p.line)
		}
	}
	w.places = nil
	q.count--
}

func (q *queue) vacate(slot *line) {
	slot.held--
	q.free++
	q.drop(slot)
}

func (q *queue) line(uid uint32) *line {
	l := q.lines[uid]
	if l == nil {
		l = &line{uid: uid}
		q.lines[uid] = l
	}
	return l
}

// drop forgets a line that is neither waiting nor holding.
func (q *queue) drop(l *line) {
	if l.held == 0 && l.waiting.Len() == 0 {
		delete(q.lines, l.uid)
	}
}
