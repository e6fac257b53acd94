package kms

import (
	"errors"
	"strings"
)

// The classes of failure. Every error of a Decrypter or Encrypter matches
// exactly one of them with errors.Is, unless it is the caller's own context
// that ended.
var (
	// ErrTransient: slow, throttled, unreachable, or failing inside. The
	// same call may succeed later.
	ErrTransient = errors.New("key service unavailable")
	// ErrAuthentication: credentials, signature, clock or account were
	// rejected. It says nothing about the ciphertext.
	ErrAuthentication = errors.New("key service rejected our credentials")
	// ErrConfiguration: the account, its instance or the endpoint is not set
	// up for this call. It says nothing about the ciphertext or the identity.
	ErrConfiguration = errors.New("key service is not set up for this")
	// ErrDenied: the service knows who we are and does not allow this call.
	ErrDenied = errors.New("access denied by the key service")
	// ErrKeyState: the key or its version is disabled, pending deletion,
	// or gone.
	ErrKeyState = errors.New("key is not usable")
	// ErrBadCiphertext: the blob was damaged, made elsewhere, or does not
	// belong to this encryption context.
	ErrBadCiphertext = errors.New("ciphertext cannot be decrypted")
	// ErrBadAnswer: the service answered something that cannot be the
	// plaintext of this blob, or that is no answer at all.
	ErrBadAnswer = errors.New("implausible answer of the key service")
	// ErrInvalid: the request itself was refused as malformed, for example
	// an alias that exists already. No retry and no other key will help.
	ErrInvalid = errors.New("request refused by the key service")
)

// ClassName names the class of an error for a program to read, in snake case.
// It is empty for what belongs to none.
func ClassName(err error) string {
	for _, c := range []struct {
		class error
		name  string
	}{
		{ErrTransient, "transient"}, {ErrAuthentication, "authentication"}, {ErrConfiguration, "configuration"},
		{ErrDenied, "denied"}, {ErrKeyState, "key_state"}, {ErrBadCiphertext, "bad_ciphertext"},
		{ErrBadAnswer, "bad_answer"}, {ErrInvalid, "invalid"},
	} {
		if errors.Is(err, c.class) {
			return c.name
		}
	}
	return ""
}

// Throttled says that an error is the service's word about the rate of calls.
// That has no class of its own: its status is 429, and whichever status a service
// prefers, its code has the word in it.
func Throttled(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && errors.Is(e, ErrTransient) && e.Status != 0 &&
		(e.Status == tooManyRequests || strings.Contains(strings.ToLower(e.Code), "throttl"))
}

const tooManyRequests = 429 // the HTTP status; this room has no net/http

// Error is a failed call as one line of scrubbed facts.
//
// INVARIANT: no field holds plaintext, ciphertext, a token, a signature, an
// access key or a URL.
type Error struct {
	Class     error  // one of the sentinels above
	Action    string // the API action, for example "Decrypt"
	Code      string // the service's error code; empty when none was given
	Status    int    // the HTTP status; 0 when no response arrived
	RequestID string // empty when no response arrived
	Detail    string // what else may be said
	Hint      string // what to do about it; empty: what the class says
	Unreached bool   // no connection could be made, so nothing was sent
	Cause     error  // context.Canceled or context.DeadlineExceeded, or nil
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Action)
	b.WriteString(": ")
	b.WriteString(e.Class.Error())
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Code != "" {
		b.WriteString(" (" + e.Code)
		if e.RequestID != "" {
			b.WriteString(", RequestId " + e.RequestID)
		}
		b.WriteString(")")
	} else if e.RequestID != "" {
		b.WriteString(" (RequestId " + e.RequestID + ")")
	}
	return b.String()
}

// Unwrap makes both the class and the cause visible to errors.Is.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Class}
	}
	return []error{e.Class, e.Cause}
}
