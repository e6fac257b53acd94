package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"
	"time"
)

// signatureWindow is how far a Timestamp may be from our clock, in either
// direction, and how long a nonce is remembered.
const signatureWindow = 15 * time.Minute

// maxNonces bounds the nonces remembered, in each of two generations: about
// 25 MB together. Above it the oldest are forgotten early.
const maxNonces = 1 << 18

// Authenticator checks who signed a request.
type Authenticator struct {
	accessKeyID, accessKeySecret string
	tokens                       tokens
	nonces                       nonces
}

// NewAuthenticator returns one that knows one permanent access key.
func NewAuthenticator(accessKeyID, accessKeySecret string) *Authenticator {
	return &Authenticator{accessKeyID: accessKeyID, accessKeySecret: accessKeySecret}
}

// Issue makes a temporary access key. It lives for ttl and up to a second longer.
func (a *Authenticator) Issue(ttl time.Duration, now time.Time) TemporaryKey {
	return a.tokens.issue(ttl, now)
}

// claim is what a request says of who signed it. Both signature families come
// down to it.
type claim struct {
	accessKeyID, token, timestamp, nonce, signature string

	sign     func(secret string) string // the true signature
	mismatch func() *Error
}

// Check verifies a request in the gateway's order: the key must be known, the
// time near, the signature ours, the nonce new. A nonce counts as used only
// once a valid signature carried it.
func (a *Authenticator) Check(c *Call) *Error {
	read := c.rpcClaim
	if c.acs3 {
		read = c.acs3Claim
	}
	claimed, err := read()
	if err != nil {
		return err
	}
	now := time.Now()
	secret, err := a.secret(claimed, now)
	if err != nil {
		return err
	}
	if err := checkTimestamp(claimed.timestamp, now); err != nil {
		return err
	}
	if !hmac.Equal([]byte(claimed.signature), []byte(claimed.sign(secret))) {
		return claimed.mismatch()
	}
	// KMS does not list SignatureNonce among its common parameters: it may
	// be absent, but it may not be repeated.
	if n := claimed.nonce; n != "" && !a.nonces.use(n, now) {
		return errNonceUsed
	}
	return nil
}

// secret returns that of a permanent access key or of a temporary one with its
// token. The codes are those of other products: which ones KMS uses, and what
// it says to a token that came with a permanent key, is not documented.
func (a *Authenticator) secret(c *claim, now time.Time) (string, *Error) {
	if c.accessKeyID == a.accessKeyID && c.token == "" {
		return a.accessKeySecret, nil
	}
	temporary, known := a.tokens.find(c.accessKeyID)
	if !known && c.accessKeyID != a.accessKeyID {
		return "", errAccessKey
	}
	switch {
	case known && c.token == temporary.SecurityToken:
		if !now.Before(temporary.expires) {
			return "", errTokenExpired
		}
		return temporary.AccessKeySecret, nil
	case c.token == "": // without its token a temporary key is no key
		return "", errAccessKey
	case a.tokens.issued(c.token): // but for another key
		return "", errTokenMismatch
	}
	return "", errTokenUnknown
}

func checkTimestamp(s string, now time.Time) *Error {
	if s == "" {
		return errTimeMissing
	}
	t, err := time.Parse(TimeLayout, s)
	if err != nil || len(s) != len(TimeLayout) { // Parse takes a fraction unasked
		return errTimeFormat
	}
	if d := now.Sub(t); d > signatureWindow || d < -signatureWindow {
		return errTimeExpired
	}
	return nil
}

// nonces remembers what was used in the last signatureWindow. Its zero value
// is ready.
//
// INVARIANT: every nonce younger than signatureWindow is in young or old,
// unless more than maxNonces arrived since.
type nonces struct {
	mu         sync.Mutex
	young, old map[[16]byte]time.Time
	began      time.Time // of young
}

// use reports whether n is new, and remembers it.
func (u *nonces) use(n string, now time.Time) bool {
	sum := sha256.Sum256([]byte(n))
	id := [16]byte(sum[:16])
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, seen := range []map[[16]byte]time.Time{u.young, u.old} {
		if t, ok := seen[id]; ok && now.Sub(t) < signatureWindow {
			return false
		}
	}
	if u.young == nil || now.Sub(u.began) >= signatureWindow || len(u.young) >= maxNonces {
		u.old, u.young, u.began = u.young, map[[16]byte]time.Time{}, now
	}
	u.young[id] = now
	return true
}
