package credentials

// What the tests beside a client need of this package's own.
var (
	SourceOf = sourceOf
	Numbered = numbered
	ErrDry   = errDry
)

// PassPause is a failurePause that has passed: who failed is asked again.
func (s *Source) PassPause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notYet = s.notYet.Add(-failurePause)
	s.where.ended = s.where.ended.Add(-failurePause)
}
