package daemon

import (
	"errors"
	"time"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/kms"
)

// rememberFor keeps a failure from costing a call at every open.
func rememberFor(err error) time.Duration {
	if errors.Is(err, kms.ErrBadCiphertext) || errors.Is(err, kms.ErrBadAnswer) {
		return badFor
	}
	return failedFor
}

// troubleOf says what the failure of a call means for the plaintext that is in
// the cache. Rejected credentials and an account that is not set up say nothing
// about it; an implausible answer comes from somebody, so it is not silence
// either.
func troubleOf(err error) cache.Trouble {
	switch {
	case errors.Is(err, cache.ErrLate),
		errors.Is(err, kms.ErrTransient), errors.Is(err, kms.ErrAuthentication), errors.Is(err, kms.ErrConfiguration):
		return cache.Unavailable
	case errors.Is(err, kms.ErrDenied), errors.Is(err, kms.ErrKeyState), errors.Is(err, kms.ErrBadCiphertext):
		return cache.Refused
	}
	return cache.Failed
}
