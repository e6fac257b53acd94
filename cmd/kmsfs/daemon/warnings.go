package daemon

import (
	"log/slog"
	"slices"
	"sync"
)

// warnings are what an administrator should know of a mount for as long as it
// lives: each is logged when it is found, and remembered for status.
type warnings struct {
	log *slog.Logger

	mu   sync.Mutex
	list []string
}

func (w *warnings) warn(text string) {
	w.log.Warn(text)
	w.remember(text)
}

// remember is warn for what has been said already.
func (w *warnings) remember(texts ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, texts...)
}

// forget takes back what does not hold any more.
func (w *warnings) forget(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = slices.DeleteFunc(w.list, func(said string) bool { return said == text })
}

func (w *warnings) inForce() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.list)
}
