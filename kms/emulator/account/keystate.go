package account

import (
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

// Enabled ⇄ Disabled, and either → PendingDeletion → Enabled. Enabling what is
// enabled and disabling what is disabled succeed; every other change that is
// not an arrow here is Rejected.StateModifiedFailed.

func (a *Account) enableKey(v view, p wire.Params) (wire.Reply, error) {
	return a.setState(v, p, stateEnabled)
}

func (a *Account) disableKey(v view, p wire.Params) (wire.Reply, error) {
	return a.setState(v, p, stateDisabled)
}

func (a *Account) setState(v view, p wire.Params, to string) (wire.Reply, error) {
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	if k.State == statePendingDeletion {
		return nil, wire.ErrStateModified
	}
	k.State = to
	return wire.Reply{}, v.putKey(k)
}

func (a *Account) scheduleKeyDeletion(v view, p wire.Params) (wire.Reply, error) {
	if _, err := p.Need("PendingWindowInDays"); err != nil {
		return nil, err
	}
	days, err := p.Number("PendingWindowInDays", 0, 7, 366)
	if err != nil {
		return nil, err
	}
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	// What a protected key answers is not documented; chosen.
	if k.State == statePendingDeletion || k.Protected {
		return nil, wire.ErrStateModified
	}
	k.State = statePendingDeletion
	k.Deleted = v.now.UTC().Truncate(time.Second).Add(time.Duration(days) * 24 * time.Hour)
	return wire.Reply{}, v.putKey(k)
}

func (a *Account) cancelKeyDeletion(v view, p wire.Params) (wire.Reply, error) {
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	if k.State != statePendingDeletion {
		return nil, wire.ErrStateModified
	}
	k.State, k.Deleted = stateEnabled, time.Time{}
	return wire.Reply{}, v.putKey(k)
}

// usable says whether a key may encrypt and decrypt in its state.
func (k *key) usable() error {
	switch k.State {
	case stateDisabled:
		return wire.ErrDisabled
	case statePendingDeletion:
		return wire.ErrPendingDeletion
	}
	return nil
}
