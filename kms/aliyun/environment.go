package aliyun

import (
	"errors"
	"fmt"
	"strings"
)

// ErrUnsafeEnvironment: a variable would make a library print secrets.
var ErrUnsafeEnvironment = errors.New("unsafe environment")

// CheckEnvironment refuses the debugging switches that print what kmsfs
// protects. The libraries read DEBUG while the program starts, before main could
// clear it, so it cannot be repaired from within: the variable must go.
func CheckEnvironment(getenv func(string) string) error {
	for _, v := range []struct{ name, word, harm string }{
		{"DEBUG", "sdk", "the SDK would print tokens and answers"},
		{"DEBUG", "credential", "the credentials library would print tokens"},
		{"GODEBUG", "http2debug", "net/http would print answers"},
	} {
		if strings.Contains(getenv(v.name), v.word) {
			return fmt.Errorf("check environment: %w: %s contains %q: %s", ErrUnsafeEnvironment, v.name, v.word, v.harm)
		}
	}
	return nil
}
