package kms

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Resolver finds the id of the key that an alias names.
type Resolver interface {
	ResolveAlias(ctx context.Context, alias string) (keyID string, err error)
}

// Allowed is a Decrypter that passes on only what certain keys encrypted.
// Decrypt takes no key: whoever can write a ciphertext chooses the key, even
// one of another account. So the answer is judged, before anybody keeps it.
type Allowed struct {
	d       Decrypter
	aliases Resolver

	mu  sync.Mutex
	ids []string            // key ids that are allowed
	due map[string]struct{} // aliases not resolved yet
}

// Allow limits d to the keys: ids, ARNs and aliases. An alias is resolved once,
// at the first answer that needs it: until then there may be no network.
func Allow(d Decrypter, aliases Resolver, keys []string) (*Allowed, error) {
	a := &Allowed{d: d, aliases: aliases, due: map[string]struct{}{}}
	for _, k := range keys {
		name := k
		if strings.HasPrefix(k, "acs:kms:") {
			// acs:kms:REGION:ACCOUNT:key/ID or …:alias/NAME
			parts := strings.SplitN(k, ":", 5)
			if len(parts) != 5 {
				return nil, fmt.Errorf("%q is not an ARN of a key", k)
			}
			name = parts[4]
			if id, ok := strings.CutPrefix(name, "key/"); ok {
				name = id
			} else if !strings.HasPrefix(name, "alias/") {
				return nil, fmt.Errorf("%q is not an ARN of a key", k)
			}
		}
		switch {
		case name == "" || strings.ContainsAny(name, " \t\r\n"):
			return nil, fmt.Errorf("%q is not a key id, an ARN or an alias", k)
		case strings.HasPrefix(name, "alias/"):
			a.due[name] = struct{}{}
		default:
			a.ids = append(a.ids, name)
		}
	}
	if len(a.ids)+len(a.due) == 0 {
		return nil, fmt.Errorf("no keys")
	}
	return a, nil
}

// Decrypt refuses with class ErrDenied what another key encrypted.
func (a *Allowed) Decrypt(ctx context.Context, blob Blob, ec EncryptionContext) (*Decrypted, error) {
	d, err := a.d.Decrypt(ctx, blob, ec)
	if err != nil {
		return nil, err
	}
	if err := a.judge(ctx, d.Origin); err != nil {
		d.Wipe()
		return nil, err
	}
	return d, nil
}

func (a *Allowed) judge(ctx context.Context, o Origin) error {
	if a.has(o.KeyID) {
		return nil
	}
	for _, alias := range a.unresolved() {
		id, err := a.aliases.ResolveAlias(ctx, alias)
		if err != nil {
			return fmt.Errorf("resolve %s of keys=: %w", alias, err)
		}
		a.mu.Lock()
		delete(a.due, alias)
		a.ids = append(a.ids, id)
		a.mu.Unlock()
	}
	if a.has(o.KeyID) {
		return nil
	}
	return &Error{Class: ErrDenied, Action: "Decrypt", RequestID: o.RequestID, Detail: fmt.Sprintf("it was encrypted by key %s, which is not one of keys=", o.KeyID)}
}

func (a *Allowed) has(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.ids, id)
}

func (a *Allowed) unresolved() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var names []string
	for name := range a.due {
		names = append(names, name)
	}
	return names
}
