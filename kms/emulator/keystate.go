package emulator

import "time"

// Enabled ⇄ Disabled, and either → PendingDeletion → Enabled. Enabling what is
// enabled and disabling what is disabled succeed; every other change that is
// not an arrow here is Rejected.StateModifiedFailed.

func (a *account) enableKey(v view, p params) (reply, error) {
	return a.setState(v, p, stateEnabled)
}

func (a *account) disableKey(v view, p params) (reply, error) {
	return a.setState(v, p, stateDisabled)
}

func (a *account) setState(v view, p params, to string) (reply, error) {
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	if k.State == statePendingDeletion {
		return nil, errStateModified
	}
	k.State = to
	return reply{}, v.putKey(k)
}

func (a *account) scheduleKeyDeletion(v view, p params) (reply, error) {
	if _, err := p.need("PendingWindowInDays"); err != nil {
		return nil, err
	}
	days, err := p.number("PendingWindowInDays", 0, 7, 366)
	if err != nil {
		return nil, err
	}
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	// What a protected key answers is not documented; chosen.
	if k.State == statePendingDeletion || k.Protected {
		return nil, errStateModified
	}
	k.State = statePendingDeletion
	k.Deleted = v.now.UTC().Truncate(time.Second).Add(time.Duration(days) * 24 * time.Hour)
	return reply{}, v.putKey(k)
}

func (a *account) cancelKeyDeletion(v view, p params) (reply, error) {
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	if k.State != statePendingDeletion {
		return nil, errStateModified
	}
	k.State, k.Deleted = stateEnabled, time.Time{}
	return reply{}, v.putKey(k)
}

// usable says whether a key may encrypt and decrypt in its state.
func (k *key) usable() error {
	switch k.State {
	case stateDisabled:
		return errDisabled
	case statePendingDeletion:
		return errPendingDeletion
	}
	return nil
}
