package main

import "io"

// progressTo tells whether output may get a line that is written over: it goes
// to a terminal, and to one that knows how to erase a line.
func progressTo(w io.Writer, getenv func(string) string) bool {
	kind := getenv("TERM")
	return terminal(w) && kind != "" && kind != "dumb"
}
