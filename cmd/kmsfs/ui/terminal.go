package ui

import (
	"io"
	"os"

	"golang.org/x/term"
)

// ShowsProgress tells whether output may get a line that is written over: it
// goes to a terminal, and to one that knows how to erase a line.
func ShowsProgress(w io.Writer, getenv func(string) string) bool {
	kind := getenv("TERM")
	return IsTerminal(w) && kind != "" && kind != "dumb"
}

// IsTerminal tells whether output goes to one.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
