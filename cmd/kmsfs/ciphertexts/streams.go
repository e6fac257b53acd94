package ciphertexts

import (
	"io"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

// Streams are what a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Progress bool // Err is for a person, and can erase a line
}

func (s Streams) warn(text string) { ui.Warn(s.Err, text) }
