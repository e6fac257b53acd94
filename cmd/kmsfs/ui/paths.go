package ui

import (
	"errors"
	"fmt"
	"os"
)

// PlainPath drops the name of the system call from a path error, which the
// message's own verb says better.
func PlainPath(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("%s: %w", Quote(pe.Path), pe.Err)
	}
	return err
}

// Cause is what went wrong with a file that the message names already.
func Cause(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}
