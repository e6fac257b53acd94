package credentials

// What the tests beside a client need of this package's own.
var (
	SourceOf = sourceOf
	Numbered = numbered
	ErrDry   = errDry
)

const FailurePause = failurePause
