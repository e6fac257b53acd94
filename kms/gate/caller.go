package gate

import "github.com/kmsfs/kmsfs/kms"

// noCaller stands in line for loads that nobody is named for. No user has this
// id: to chown it means "do not change".
const noCaller = ^uint32(0)

// stand puts a waiter into the lines of all callers of a load, and keeps it
// there for those who join. Without callers it stands in the line of noCaller.
func (q *queue) stand(callers *kms.Callers) (w *waiter, err error) {
	if callers == nil {
		return q.enter(noCaller)
	}
	callers.Stand(func(uids []uint32) kms.Waiter {
		if w, err = q.enter(uids...); err == nil && w.granted != nil {
			return w
		}
		return nil
	})
	return w, err
}

// left is the end of stand: w stands in line no more.
func (w *waiter) left(callers *kms.Callers) {
	if callers != nil {
		callers.Left(w)
	}
}

// AddCaller implements kms.Waiter.
func (w *waiter) AddCaller(uid uint32) {
	q := w.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(w.places) > 0 {
		q.joinLine(w, uid)
		q.pump()
	}
}
