package keyservice

import (
	"context"
	"encoding/json"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun"
	"github.com/kmsfs/kmsfs/kms/gate"
)

// Guard puts before a client what guards it: the rate and the retries,
// and the keys that are allowed.
func Guard(s *options.Settings, c *aliyun.Client) (kms.Decrypter, *gate.Gate, error) {
	g := gate.New(c, gate.Config{QPS: s.QPS, Load: s.Timeout, Attempt: attempt(s)})
	s.Repeat = g.Token
	if len(s.Keys) == 0 {
		return g, g, nil
	}
	ids, aliases, err := aliyun.ParseKeys(s.Keys)
	if err != nil {
		return nil, nil, err
	}
	return kms.Allow(g, aliasOf{c, g}, ids, aliases), g, nil
}

// attempt bounds one request: what is answered later than that could be served
// to nobody.
func attempt(s *options.Settings) time.Duration { return min(3*time.Second, s.TTL+s.Stale) }

// aliasOf resolves aliases by asking the service for the key, at the rate of
// the gate.
type aliasOf struct {
	keys interface {
		DescribeKey(ctx context.Context, keyID string) (json.RawMessage, error)
	}
	gate *gate.Gate
}

func (a aliasOf) ResolveAlias(ctx context.Context, alias string) (string, error) {
	if err := a.gate.Token(ctx); err != nil {
		return "", err
	}
	raw, err := a.keys.DescribeKey(ctx, alias)
	if err != nil {
		return "", err
	}
	var answer struct{ KeyMetadata struct{ KeyId string } }
	if err := json.Unmarshal(raw, &answer); err != nil || answer.KeyMetadata.KeyId == "" {
		return "", &kms.Error{Class: kms.ErrBadAnswer, Action: "DescribeKey", Detail: "it names no key"}
	}
	return answer.KeyMetadata.KeyId, nil
}
