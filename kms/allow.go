package kms

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// aliasFor is how long an answer about an alias is good: that of a key
	// which is retired is moved to its successor.
	aliasFor = 3 * time.Minute
	// aliasRest is how often at most an alias is asked for anew, because of
	// what another key encrypted or because there was no answer.
	aliasRest = 5 * time.Second
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
	ids     []string      // key ids that are allowed whatever an alias says
	asking  chan struct{} // holds a value while somebody asks for aliases

	mu    sync.Mutex
	named []alias
}

// alias is what is known of one.
type alias struct {
	name  string
	id    string    // of the key; empty: nobody knows, or there is none
	asked time.Time // last, whatever the answer; zero: never
	err   error     // of that time
}

// Allow limits d to the keys with these ids and to those that the aliases named
// stand for. An alias is resolved at the first answer that needs it (until then
// there may be no network), every few minutes in the background, and when
// something was encrypted by a key that is not allowed. Without ids and aliases
// nothing is allowed.
func Allow(d Decrypter, aliases Resolver, ids, named []string) *Allowed {
	a := &Allowed{d: d, aliases: aliases, ids: ids, asking: make(chan struct{}, 1)}
	for _, name := range named {
		a.named = append(a.named, alias{name: name})
	}
	return a
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

// judge accepts what an alias allowed when it was last asked for, and asks anew
// in the background when that is long ago; whether something else is allowed is
// found out before the answer.
func (a *Allowed) judge(ctx context.Context, o Origin) error {
	if slices.Contains(a.ids, o.KeyID) {
		return nil
	}
	if a.allows(o.KeyID) {
		if len(a.old(aliasFor)) > 0 {
			go a.refresh(ctx)
		}
		return nil
	}
	err := a.ask(ctx, aliasRest)
	switch {
	case a.allows(o.KeyID):
		return nil
	case err != nil:
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.named {
		if n.id == "" && n.err != nil && !gone(n.err) {
			return fmt.Errorf("resolve %s of keys=: %w", n.name, n.err)
		}
	}
	detail := fmt.Sprintf("it was encrypted by key %s, which is not one of keys=", o.KeyID)
	for _, n := range a.named {
		if n.err != nil && gone(n.err) {
			detail += "; " + n.name + " of keys= names no key"
		}
	}
	return &Error{
		Class: ErrDenied, Action: "Decrypt", RequestID: o.RequestID, Detail: detail,
		Hint: "compare keys= with the key that the file was encrypted with (kmsfs verify shows it)",
	}
}

// refresh asks for the aliases that were not asked for in a long time, unless
// somebody is at it.
func (a *Allowed) refresh(ctx context.Context) {
	select {
	case a.asking <- struct{}{}:
		<-a.asking
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), aliasRest)
	defer cancel()
	_ = a.ask(ctx, aliasFor) // each alias keeps its own error
}

func (a *Allowed) allows(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.named, func(n alias) bool { return n.id == id })
}

// ask resolves the aliases that were not asked for within a time. One caller
// asks, the others wait and find the answers. What an alias named stands while
// there is no other answer; an alias that is gone names nothing.
func (a *Allowed) ask(ctx context.Context, after time.Duration) error {
	if len(a.old(after)) == 0 {
		return nil
	}
	select {
	case a.asking <- struct{}{}:
		defer func() { <-a.asking }()
	case <-ctx.Done():
		return unresolved(ctx)
	}
	for _, i := range a.old(after) {
		id, err := a.aliases.ResolveAlias(ctx, a.named[i].name)
		if err != nil && (ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)) {
			return unresolved(ctx)
		}
		a.mu.Lock()
		n := &a.named[i]
		switch {
		case err == nil:
			n.id = id
		case gone(err):
			n.id = ""
		}
		n.asked, n.err = time.Now(), err
		a.mu.Unlock()
	}
	return nil
}

// unresolved is the error of a caller whose time is over.
func unresolved(ctx context.Context) error {
	return &Error{
		Class: ErrTransient, Action: "DescribeKey", Cause: ctx.Err(),
		Detail: "out of time before the aliases of keys= were resolved",
	}
}

// gone says that an alias names no key (any more).
func gone(err error) bool { return errors.Is(err, ErrKeyState) }

// old are the indices of the aliases to ask for. An answer that was none is asked
// for again after a rest, whatever the time.
func (a *Allowed) old(after time.Duration) (indices []int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, n := range a.named {
		wait := after
		switch {
		case n.err != nil && n.id == "" && !gone(n.err):
			wait = time.Second // nothing can be judged before
		case n.err != nil:
			wait = aliasRest
		}
		if n.asked.IsZero() || time.Since(n.asked) >= wait {
			indices = append(indices, i)
		}
	}
	return indices
}
