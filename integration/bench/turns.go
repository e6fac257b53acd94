package main

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// loop does something n times.
type loop func(n int) error

// turns lets the places take turns: in each round every place runs for a
// slice of time, and each round begins with another place. It returns the
// seconds of one time, for each place and round. Every thread has a loop of
// its own, for each place.
func (b *bench) turns(ctx context.Context, places int, threads int, newLoop func(place int) (loop, error)) ([][]float64, error) {
	loops := make([][]loop, places)
	count := make([]int, places) // how often a thread does it in its slice
	for p := range loops {
		for range threads {
			l, err := newLoop(p)
			if err != nil {
				return nil, err
			}
			loops[p] = append(loops[p], l)
		}
		for n := 1; count[p] == 0; n *= 2 {
			seconds, err := together(loops[p], n)
			if err != nil {
				return nil, err
			}
			if seconds > b.slice.Seconds()/3 {
				count[p] = max(1, int(b.slice.Seconds()/seconds*float64(n)))
			}
		}
	}
	times := make([][]float64, places)
	for round := range b.rounds {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for i := range places {
			p := (round + i) % places
			seconds, err := together(loops[p], count[p])
			if err != nil {
				return nil, err
			}
			times[p] = append(times[p], seconds/float64(count[p]))
		}
	}
	return times, nil
}

// together runs loops n times each, at once, each on a thread of its own, and
// returns the seconds from the first to the last.
func together(loops []loop, n int) (seconds float64, err error) {
	errs := make([]error, len(loops))
	ready, done := sync.WaitGroup{}, sync.WaitGroup{}
	start := make(chan struct{})
	for i, l := range loops {
		ready.Add(1)
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread() // children die with the thread that started them
			ready.Done()
			<-start
			errs[i] = l(n)
		})
	}
	ready.Wait()
	begun := time.Now()
	close(start)
	done.Wait()
	seconds = time.Since(begun).Seconds()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return seconds, nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[len(s)/2] + s[(len(s)-1)/2]) / 2
}

// ratio is the median of what one took of the other's time, round by round.
func ratio(one, other []float64) float64 {
	r := make([]float64, len(one))
	for i := range one {
		r[i] = one[i] / other[i]
	}
	return median(r)
}
