package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// row is one line of the table: a measurement in one mode of kmsfs.
type row struct {
	what    string
	mode    string // empty: the modes do not differ
	value   string // what was measured, in its own unit
	against map[string]float64
	targets []target
	bound   string // a target that is no ratio
	missed  string // by how much, if it is
	note    string // instead of figures
}

// target bounds the ratio to another place.
type target struct {
	other string
	most  float64
}

// targets are those of each mode, and under "" those of all.
type targets map[string][]target

// openTargets: fast is at least 10 times faster than loopback and 15 times
// faster than gocryptfs. checked, which judges and records every open, is as fast as
// a loopback that reads through the kernel, and not far from a server that
// does nothing.
var openTargets = targets{
	"fast":    {{tmpfs, 2}, {loopback, 1. / 10}, {gocryptfs, 1. / 15}},
	"checked": {{loopback, 1}, {gocryptfs, 0.75}, {libfuse, 1.6}},
}

// pairs makes the rows of a measurement that all places took part in.
func pairs(what string, names []string, times [][]float64, t targets) (rows []row) {
	for i, mode := range names {
		if !slices.Contains(modes, mode) {
			continue
		}
		r := row{what: what, mode: mode, value: duration(median(times[i])), against: map[string]float64{}, targets: append(slices.Clone(t[""]), t[mode]...)}
		for j, other := range names {
			if slices.Contains(others, other) {
				r.against[other] = ratio(times[i], times[j])
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// first stands for the process that a successor has followed.
const first = "the first process"

// successions makes the rows that compare a successor with the process before
// it.
func successions(what string, names []string, times [][]float64) (rows []row) {
	for i, mode := range names {
		j := slices.Index(names, successorOf(mode))
		if j < 0 {
			continue
		}
		rows = append(rows, row{what: what + ", in a successor", mode: mode, value: duration(median(times[j])),
			against: map[string]float64{first: ratio(times[j], times[i])}, targets: []target{{first, 1.1}}})
	}
	return rows
}

func names(places []*place) []string {
	var all []string
	for _, p := range places {
		all = append(all, p.name)
	}
	return all
}

// target is what the row is to reach, in words.
func (r row) target() string {
	var all []string
	if r.bound != "" {
		all = append(all, r.bound)
	}
	for _, t := range r.targets {
		all = append(all, "≤ "+times(t.most)+" "+t.other)
	}
	return strings.Join(all, ", ")
}

// result says whether the targets are met, and by how much they are missed.
func (r row) result() string {
	if r.missed != "" {
		return "**missed**: " + r.missed
	}
	var missed []string
	for _, t := range r.targets {
		if over := r.against[t.other] / t.most; over > 1 {
			missed = append(missed, t.other+" "+excess(over))
		}
	}
	switch {
	case len(missed) > 0:
		return "**missed**: " + strings.Join(missed, ", ")
	case r.target() != "":
		return "met"
	}
	return ""
}

// excess says by how much a bound is missed.
func excess(over float64) string {
	if over > 3 {
		return fmt.Sprintf("%.0f times over", over)
	}
	return fmt.Sprintf("by %.1f %%", 100*(over-1))
}

// times writes a ratio with as many digits as mean something.
func times(r float64) string {
	switch {
	case r < 0.1:
		return fmt.Sprintf("%.3f×", r)
	case r < 10:
		return fmt.Sprintf("%.2f×", r)
	case r < 100:
		return fmt.Sprintf("%.1f×", r)
	}
	return fmt.Sprintf("%.0f×", r)
}

func duration(seconds float64) string {
	switch d := time.Duration(seconds * 1e9); {
	case d < 100*time.Microsecond:
		return fmt.Sprintf("%.1f µs", seconds*1e6)
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", seconds*1e6)
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", seconds*1e3)
	}
	return fmt.Sprintf("%.2f s", seconds)
}
