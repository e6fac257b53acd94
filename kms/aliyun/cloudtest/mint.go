package cloudtest

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Mint issues temporary credentials and knows which are valid.
type Mint struct {
	Life time.Duration // and up to a second more: an Expiration has no fractions

	mu     sync.Mutex
	issued []Temporary
}

// Temporary is credentials as STS writes them.
type Temporary struct {
	AccessKeyId, AccessKeySecret, SecurityToken, Expiration string
	Expires                                                 time.Time
}

// Issue makes new ones.
func (m *Mint) Issue() Temporary {
	m.mu.Lock()
	defer m.mu.Unlock()
	expires := time.Now().Add(m.Life + time.Second - 1).UTC().Truncate(time.Second)
	n := len(m.issued)
	k := Temporary{
		fmt.Sprintf("STS.canary%d", n), fmt.Sprintf("canarysecret%d", n), fmt.Sprintf("canarytoken+/=%d", n),
		expires.Format("2006-01-02T15:04:05Z"), expires,
	}
	m.issued = append(m.issued, k)
	return k
}

// Count is how many have been issued.
func (m *Mint) Count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.issued)
}

// Last is what was issued last.
func (m *Mint) Last() Temporary {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.issued[len(m.issued)-1]
}

// Judge returns how a service would answer a request: nothing, or a code.
func (m *Mint) Judge(r *http.Request) (status int, code string) {
	r.ParseForm()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.issued {
		switch {
		case r.Form.Get("AccessKeyId") != k.AccessKeyId:
			continue
		case r.Form.Get("SecurityToken") != k.SecurityToken:
			return 400, "InvalidSecurityToken.MismatchWithAccessKey"
		case !SignedWith(r, k.AccessKeySecret):
			return 400, "SignatureDoesNotMatch"
		case !time.Now().Before(k.Expires):
			return 400, "InvalidSecurityToken.Expired"
		}
		return 200, ""
	}
	return 404, "InvalidAccessKeyId.NotFound"
}

// KMS answers Decrypt to those who have valid credentials.
func (m *Mint) KMS(w http.ResponseWriter, r *http.Request) {
	if status, code := m.Judge(r); code != "" {
		Answering(status, JSON(map[string]any{"Code": code, "RequestId": RequestID, "Message": "canary"}))(w, r)
		return
	}
	Answering(200, DecryptAnswer("x"))(w, r)
}

// AssumeRole answers as STS does.
func (m *Mint) AssumeRole(w http.ResponseWriter, r *http.Request) {
	Answering(200, JSON(map[string]any{"RequestId": RequestID, "Credentials": m.Issue()}))(w, r)
}
