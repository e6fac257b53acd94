package wire

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	defaultTTL = time.Hour // of a temporary key; that of STS itself
	maxTTL     = 12 * time.Hour

	// maxTokens bounds the temporary keys remembered. Above it the oldest
	// is forgotten, and then unknown instead of expired.
	maxTokens = 4096
)

// TemporaryKey is an access key as STS hands it out, in the form of its own
// answers.
type TemporaryKey struct {
	AccessKeyID     string `json:"AccessKeyId"`
	AccessKeySecret string
	SecurityToken   string
	Expiration      string // to the second

	expires time.Time
}

// tokens holds the temporary keys handed out since the start: they end with
// the server. Its zero value is ready.
type tokens struct {
	mu    sync.Mutex
	byID  map[string]TemporaryKey
	owner map[string]string // token → access key id
	order []string          // ids, oldest first
}

// issue makes a temporary key. It lives for ttl and up to a second longer: its
// Expiration, which has no fractions, is the truth.
func (t *tokens) issue(ttl time.Duration, now time.Time) TemporaryKey {
	raw := make([]byte, 192)
	rand.Read(raw) // never fails
	expires := now.Add(ttl + time.Second - 1).UTC().Truncate(time.Second)
	k := TemporaryKey{
		AccessKeyID:     "STS." + rand.Text(),
		AccessKeySecret: rand.Text(),
		// Real tokens are base64 too, with signs that need encoding.
		SecurityToken: "CAIS+/" + base64.StdEncoding.EncodeToString(raw[:190]),
		Expiration:    expires.Format(TimeLayout),
		expires:       expires,
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID, t.owner = map[string]TemporaryKey{}, map[string]string{}
	}
	if len(t.order) == maxTokens {
		oldest := t.byID[t.order[0]]
		delete(t.byID, oldest.AccessKeyID)
		delete(t.owner, oldest.SecurityToken)
		t.order = t.order[1:]
	}
	t.byID[k.AccessKeyID], t.owner[k.SecurityToken] = k, k.AccessKeyID
	t.order = append(t.order, k.AccessKeyID)
	return k
}

func (t *tokens) find(id string) (TemporaryKey, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.byID[id]
	return k, ok
}

// issued says whether a token belongs to any key.
func (t *tokens) issued(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.owner[token]
	return ok
}

// ParseTTL reads {"ttl":"2s"}, or nothing for the default.
func ParseTTL(r io.Reader) (time.Duration, error) {
	var asked struct {
		TTL string `json:"ttl"`
	}
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&asked); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if _, err := d.Token(); err != io.EOF {
		return 0, errors.New("more than one JSON value")
	}
	if asked.TTL == "" {
		return defaultTTL, nil
	}
	ttl, err := time.ParseDuration(asked.TTL)
	if err != nil || ttl <= 0 || ttl > maxTTL {
		return 0, fmt.Errorf("ttl is not a duration such as \"2s\", up to %v", maxTTL)
	}
	return ttl, nil
}
