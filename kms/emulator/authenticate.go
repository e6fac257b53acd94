package emulator

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

// authenticator checks who signed a request.
type authenticator struct {
	accessKeyID, accessKeySecret string
	nonces                       nonces
}

// check verifies an RPC request in the gateway's order: the key must be known,
// the time near, the signature ours, the nonce new. A nonce counts as used
// only once a valid signature carried it.
func (a *authenticator) check(method string, p params) *apiError {
	for _, name := range []string{"AccessKeyId", "Signature", "SignatureMethod", "SignatureVersion"} {
		if p[name] == "" {
			return errMissing(name)
		}
	}
	if p["SignatureMethod"] != "HMAC-SHA1" || p["SignatureVersion"] != "1.0" {
		return errIncomplete
	}
	if p["AccessKeyId"] != a.accessKeyID {
		return errAccessKey
	}
	if err := checkTimestamp(p["Timestamp"], time.Now()); err != nil {
		return err
	}
	s := stringToSign(method, p)
	if !hmac.Equal([]byte(p["Signature"]), []byte(rpcSignature(a.accessKeySecret, s))) {
		return errSignature(s)
	}
	// KMS does not list SignatureNonce among its common parameters: it may
	// be absent, but it may not be repeated.
	if n := p["SignatureNonce"]; n != "" && !a.nonces.use(n, time.Now()) {
		return errNonceUsed
	}
	return nil
}

func checkTimestamp(s string, now time.Time) *apiError {
	if s == "" {
		return errTimeMissing
	}
	t, err := time.Parse(timeLayout, s)
	if err != nil || len(s) != len(timeLayout) { // Parse takes a fraction unasked
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
