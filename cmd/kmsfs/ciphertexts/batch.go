package ciphertexts

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/gate"
)

const (
	// encryptAtOnce bounds how many files are encrypted at a time. A file is
	// begun when there is room for it, so that its timeout is its own.
	encryptAtOnce = 8
	// standstill is how long a run of many files waits for the quota without
	// one file being encrypted.
	standstill = 2 * time.Minute
)

// batch is the run of encrypt over its tasks.
type batch struct {
	*Encryption
	client kms.Encrypter
	gate   *gate.Gate
	list   []*task
	many   bool // more than one file was asked for

	mu       sync.Mutex // guards what follows, and the output
	results  []result   // beside list
	shown    int        // results whose messages are out
	done     int
	last     time.Time       // when a file was encrypted, or the run began
	unserved int             // files since then that found no service
	halted   bool            // no further file is begun
	hints    map[string]bool // that have been given
}

// result is what has become of a task.
type result struct {
	state state
	err   error
}

type state int

const (
	left state = iota // not begun, or called off
	encrypted
	present // passed over
	failed
)

func (e *Encryption) batch(client kms.Encrypter, g *gate.Gate, list []*task, many bool) *batch {
	return &batch{
		Encryption: e, client: client, gate: g, list: list, many: many,
		results: make([]result, len(list)), last: time.Now(), hints: map[string]bool{},
	}
}

// run does the tasks, a few at a time, until all are done, ctx ends, or it is
// clear that no other would succeed.
func (b *batch) run(ctx context.Context) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, encryptAtOnce)
	for i, t := range b.list {
		if t.present {
			b.finish(ctx, i, nil)
			continue
		}
		slots <- struct{}{}
		if ctx.Err() != nil || b.isHalted() {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			b.finish(ctx, i, b.one(ctx, t, b.seal))
		})
	}
	wg.Wait()
	return b.end()
}

func (b *batch) isHalted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.halted
}

// seal makes a ciphertext through the gate. Of many files each may wait in line
// and for the quota beyond its timeout, as long as others get on.
func (b *batch) seal(ctx context.Context, plaintext []byte, ec kms.EncryptionContext) (*kms.Encrypted, error) {
	for {
		w := &watched{next: b.client}
		bounded, cancel := context.WithTimeout(ctx, b.Timeout)
		c, err := b.gate.Encrypter(w).Encrypt(bounded, b.Key, plaintext, ec)
		cancel()
		if err == nil || !b.many || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || !w.waiting() || b.standsStill() {
			return c, err
		}
	}
}

func (b *batch) standsStill() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.halted = b.halted || time.Since(b.last) > standstill
	return b.halted
}

// watched is an Encrypter that knows how its last attempt ended. It is used by
// one file at a time.
type watched struct {
	next     kms.Encrypter
	attempts int
	last     error
}

func (w *watched) Encrypt(ctx context.Context, keyID string, plaintext []byte, ec kms.EncryptionContext) (*kms.Encrypted, error) {
	c, err := w.next.Encrypt(ctx, keyID, plaintext, ec)
	w.attempts++
	w.last = err
	return c, err
}

// waiting tells whether nothing but the rate kept the call from being answered:
// its turn did not come, or the service throttled it.
func (w *watched) waiting() bool { return w.attempts == 0 || kms.Throttled(w.last) }

// finish notes what has become of a task. Messages keep the order of the
// arguments: one waits until all before it are out.
func (b *batch) finish(ctx context.Context, i int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &b.results[i]
	switch {
	case b.list[i].present:
		r.state = present
	case err == nil:
		r.state = encrypted
		b.last, b.unserved = time.Now(), 0
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return // called off
	default:
		r.state, r.err = failed, err
		b.halted = b.hopeless(err) || b.halted
	}
	b.done++
	if !b.many {
		return
	}
	b.erase()
	for b.shown < len(b.list) && b.results[b.shown].state != left {
		b.show(b.shown)
		b.shown++
	}
	if b.Progress {
		fmt.Fprintf(b.Err, "%d of %d", b.done, len(b.list))
	}
}

// hopeless tells whether an error is no file's own: the next one would fail
// alike.
func (b *batch) hopeless(err error) bool {
	if errors.Is(err, kms.ErrTransient) {
		b.unserved++
		return b.unserved >= encryptAtOnce || b.gate.Stats().Breaker != gate.BreakerClosed
	}
	for _, ofAll := range []error{kms.ErrAuthentication, kms.ErrConfiguration, kms.ErrDenied, kms.ErrKeyState} {
		if errors.Is(err, ofAll) {
			return true
		}
	}
	return false
}

// erase removes the line that says how far the run is.
func (b *batch) erase() {
	if b.Progress {
		fmt.Fprint(b.Err, "\r\x1b[K")
	}
}

// show prints what there is to say of a task.
func (b *batch) show(i int) {
	if r := b.results[i]; r.err != nil {
		ui.ComplainOnce(b.Err, r.err, b.hints)
	}
	if t := b.list[i]; t.lost != "" {
		b.warn(fmt.Sprintf("encrypt %s: %s is replaced, but %s", ui.Quote(t.file), ui.Quote(t.out), t.lost))
	}
}

// end prints the messages that are left, and a summary, and says how the run
// ended.
func (b *batch) end() error {
	if !b.many && len(b.list) == 1 {
		return b.endOne()
	}
	b.erase()
	var counts [failed + 1]int
	for i, r := range b.results {
		if i >= b.shown {
			b.show(i)
		}
		if r.err == nil || !errors.Is(r.err, errSealed) {
			counts[r.state]++
		}
	}
	summary := fmt.Sprintf("%d encrypted", counts[encrypted])
	if n := counts[present]; n > 0 {
		summary += fmt.Sprintf(", %d already encrypted", n)
	}
	if n := counts[left] + counts[failed]; n > 0 && b.Force {
		summary += fmt.Sprintf(", %d left", n)
	} else if n > 0 {
		summary += fmt.Sprintf(", %d left: run again with --missing", n)
	}
	fmt.Fprintln(b.Err, summary)
	for _, r := range b.results {
		if r.state == left || r.state == failed {
			return ui.ExitError(ui.VerbCodes[ui.Ordinary])
		}
	}
	return nil
}

// endOne is end for a single file, of which the message says all.
func (b *batch) endOne() error {
	r := b.results[0]
	switch r.state {
	case failed:
		return r.err
	case left:
		return ui.Failf("encrypt %s: interrupted", ui.Quote(b.list[0].file))
	case present:
		fmt.Fprintln(b.Err, "0 encrypted, 1 already encrypted")
	}
	b.show(0)
	return nil
}
