package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/integration/lab"
)

const (
	herdReaders = 5000
	herdFiles   = 500
	herdQPS     = 200 // quota of the service
	mountQPS    = 190 // a little less, or the service's clock decides which calls are too many
)

// measureHerd lets 5,000 threads read 500 cold files at once, from a service
// that answers after 20 ms and refuses more than 200 calls a second. What the
// quota allows at best: 200 calls at once, and the others at its rate.
func (b *bench) measureHerd(ctx context.Context) (rows []row, err error) {
	best := float64(herdFiles-herdQPS)/herdQPS + slowness.Seconds()
	// The same keys, now with a quota.
	if err := b.lab.Stop(); err != nil {
		return nil, err
	}
	l, err := lab.Start(b.bin, b.lab.Dir, "--qps", fmt.Sprint(herdQPS))
	if err != nil {
		return nil, err
	}
	b.later(l.Stop)
	if err := slow(l); err != nil {
		return nil, err
	}
	for _, mode := range modes {
		var seconds, over []float64
		calls, failed := 0, 0
		for range b.storms {
			time.Sleep(time.Second) // the quota is whole again
			p := b.kmsfs(l, mode, fmt.Sprintf(",qps=%d", mountQPS))
			if err := errors.Join(ctx.Err(), l.ResetCalls()); err != nil {
				return nil, err
			}
			if err := p.mount(ctx, b); err != nil {
				return nil, err
			}
			took, errs := p.herd()
			seen, err := l.Calls()
			if err = errors.Join(err, p.unmount()); err != nil {
				return nil, err
			}
			seconds, over = append(seconds, took), append(over, took/best)
			calls, failed = max(calls, seen["Decrypt"]), failed+errs
		}
		r := row{what: fmt.Sprintf("%d readers of %d cold files; KMS at 20 ms, %d calls a second", herdReaders, herdFiles, herdQPS), mode: mode,
			value:   fmt.Sprintf("%s, %d calls, %d errors", duration(median(seconds)), calls, failed),
			against: map[string]float64{quota: median(over)}, bound: fmt.Sprintf("%d calls, no error", herdFiles)}
		if calls != herdFiles || failed > 0 {
			r.missed = fmt.Sprintf("%d calls, %d errors", calls, failed)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// quota stands for the time that the service's quota allows at best.
const quota = "the quota's bound"

// herd is released at once and returns when the last reader has its file.
func (p *place) herd() (seconds float64, failed int) {
	start := make(chan struct{})
	errs := make([]error, herdReaders)
	var ready, done sync.WaitGroup
	for i := range errs {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			errs[i] = p.readOnce(few(i % herdFiles))
		})
	}
	ready.Wait()
	begun := time.Now()
	close(start)
	done.Wait()
	seconds = time.Since(begun).Seconds()
	for _, err := range errs {
		if err != nil {
			failed++
			if failed == 1 {
				fmt.Fprintln(os.Stderr, "bench: a reader of the herd:", err)
			}
		}
	}
	return seconds, failed
}
