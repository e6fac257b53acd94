package emulator

import (
	"maps"
	"sync"
)

// unknownAction counts every request for an action that does not exist, so
// that a client cannot grow the table.
const unknownAction = "(unknown)"

// stats counts the requests that arrived by action, faulted and refused ones
// too. Its zero value is ready.
type stats struct {
	mu    sync.Mutex
	calls map[string]int64
}

func (s *stats) count(action string) {
	if !exists(action) {
		action = unknownAction
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[string]int64{}
	}
	s.calls[action]++
}

func (s *stats) snapshot() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int64{}
	maps.Copy(out, s.calls)
	return out
}

func (s *stats) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}
