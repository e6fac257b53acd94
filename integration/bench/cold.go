package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// sdkCall stands for the bare call of the vendor's SDK, which decrypts the same
// ciphertext over a connection that it keeps.
const sdkCall = "the SDK's call"

// slowness is how long the emulator waits before it answers.
const slowness = 20 * time.Millisecond

func slow(l *lab.Lab) error {
	return l.Fault(map[string]any{"action": "Decrypt", "delay": slowness.String()})
}

// measureCold opens files that nobody has read yet, one after the other, and
// makes the same calls by hand.
func (b *bench) measureCold(ctx context.Context) (rows []row, err error) {
	if err := slow(b.lab); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.lab.ClearFaults()) }()
	for _, mode := range modes {
		p := b.kmsfs(b.lab, mode, ",qps=1000")
		client, err := newSDK(b.lab)
		if err == nil {
			err = p.mount(ctx, b)
		}
		if err != nil {
			return nil, err
		}
		times := [2][]float64{}
		for i := -1; i < b.cold && err == nil; i++ {
			name := few(max(i, 0))
			if i < 0 {
				name = "f" // makes the connections
			}
			blob, berr := os.ReadFile(b.path("source/" + name + ".cipher"))
			var seconds [2]float64
			err = errors.Join(berr, ctx.Err(), inTurn(i+1, 2, func(who int) error {
				begun := time.Now()
				defer func() { seconds[who] = time.Since(begun).Seconds() }()
				if who == 0 {
					return p.readOnce(name)
				}
				return client.decryptTo(string(blob), plaintext(name))
			}))
			if i >= 0 {
				times[0], times[1] = append(times[0], seconds[0]), append(times[1], seconds[1])
			}
		}
		if err = errors.Join(err, p.unmount()); err != nil {
			return nil, err
		}
		rows = append(rows, row{what: "cold open, read, close; KMS at 20 ms", mode: mode, value: duration(median(times[0])),
			against: map[string]float64{sdkCall: ratio(times[0], times[1])}, targets: []target{{sdkCall, 1.03}}})
	}
	return rows, nil
}

// atOnce is how many read in measureStorm: as many calls as one user of a
// mount may have under way, half of all.
const atOnce = 16

// measureStorm reads 1,000 cold files, 16 at a time, and makes the same calls
// by hand, as many at a time. Both start without one.
func (b *bench) measureStorm(ctx context.Context) (rows []row, err error) {
	if err := slow(b.lab); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.lab.ClearFaults()) }()
	blobs := make([]string, 1000)
	for i := range blobs {
		blob, err := os.ReadFile(b.path("source/" + few(i) + ".cipher"))
		if err != nil {
			return nil, err
		}
		blobs[i] = string(blob)
	}
	for _, mode := range modes {
		times := [2][]float64{}
		for round := range b.storms {
			p := b.kmsfs(b.lab, mode, ",qps=1000")
			if err := p.mount(ctx, b); err != nil {
				return nil, err
			}
			err := inTurn(round, 2, func(who int) error {
				begun := time.Now()
				err := share(ctx, len(blobs), atOnce, func() (func(int) error, error) {
					if who == 0 {
						return func(i int) error { return p.readOnce(few(i)) }, nil
					}
					client, err := newSDK(b.lab)
					return func(i int) error { return client.decryptTo(blobs[i], plaintext(few(i))) }, err
				})
				times[who] = append(times[who], time.Since(begun).Seconds())
				return err
			})
			if err = errors.Join(err, p.unmount()); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row{what: fmt.Sprintf("1,000 cold files, %d at a time; KMS at 20 ms", atOnce), mode: mode, value: duration(median(times[0])),
			against: map[string]float64{sdkCall: ratio(times[0], times[1])}})
	}
	return rows, nil
}

// readOnce reads a file that is looked at for the first time.
func (p *place) readOnce(name string) error {
	f, err := newFile(p.dir + "/" + name)
	if err != nil {
		return err
	}
	buf := make([]byte, 4096)
	if err := f.read(buf); err != nil {
		return err
	}
	if string(buf[:fileSize]) != plaintext(name) {
		return errors.New(p.name + " serves something else as " + name)
	}
	return nil
}

func (c *sdkClient) decryptTo(blob, want string) error {
	got, err := c.decrypt(blob)
	if err == nil && got != want {
		err = errors.New("the SDK returns something else")
	}
	return err
}

// share lets workers do jobs 0 to n-1, each worker with a function of its own.
func share(ctx context.Context, n, workers int, newWorker func() (func(int) error, error)) error {
	var next atomic.Int64
	next.Store(-1)
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range errs {
		wg.Go(func() {
			do, err := newWorker()
			for err == nil && ctx.Err() == nil {
				i := int(next.Add(1))
				if i >= n {
					break
				}
				err = do(i)
			}
			errs[w] = err
		})
	}
	wg.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}
