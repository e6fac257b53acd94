package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// forgotten is longer than any of the places lets the kernel trust names.
const forgotten = 1200 * time.Millisecond

// measureListings lists 1,000 and 10,000 files with ls -l: right after the
// mount, at once again, and again when the kernel has forgotten the names but
// the server knows the files. A tmpfs has but one state.
func (b *bench) measureListings(ctx context.Context) (rows []row, err error) {
	for _, size := range []int{1000, 10000} {
		places := b.places("")
		kinds := []string{"first", "warm", "sizes known"}
		times := map[string][][]float64{}
		for _, kind := range kinds {
			times[kind] = make([][]float64, len(places))
		}
		for round := range b.listings {
			unmount, err := b.mountAll(ctx, places)
			if err != nil {
				return nil, err
			}
			list := func(kind string, i int) error {
				seconds, err := places[i].list(ctx, size)
				times[kind][i] = append(times[kind][i], seconds)
				return err
			}
			err = inTurn(round, len(places), func(i int) error { return errors.Join(list("first", i), list("warm", i)) })
			time.Sleep(forgotten)
			err = errors.Join(err, inTurn(round, len(places), func(i int) error { return list("sizes known", i) }), unmount(), ctx.Err())
			if err != nil {
				return nil, err
			}
		}
		for i, kind := range kinds {
			var t targets
			if size == 10000 {
				t = targets{"": {{tmpfs, []float64{4, 1.25, 1.5}[i]}}}
			}
			rows = append(rows, pairs(fmt.Sprintf("ls -l of %d,000, %s", size/1000, kind), names(places), times[kind], t)...)
		}
	}
	return rows, nil
}

// inTurn does something for n places, beginning with another in each round.
func inTurn(round, n int, do func(int) error) error {
	for i := range n {
		if err := do((round + i) % n); err != nil {
			return err
		}
	}
	return nil
}

// list runs the real ls.
func (p *place) list(ctx context.Context, size int) (seconds float64, err error) {
	cmd := exec.CommandContext(ctx, "ls", "-l", filepath.Join(p.dir, fmt.Sprint(size)))
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	begun := time.Now()
	err = cmd.Run()
	return time.Since(begun).Seconds(), err
}
