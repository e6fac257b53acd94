package account

import (
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
	bolt "go.etcd.io/bbolt"
)

// What KeyMetadata calls AutomaticRotation. Suspended is a policy whose key is
// not Enabled (documented).
const (
	rotationEnabled   = "Enabled"
	rotationDisabled  = "Disabled"
	rotationSuspended = "Suspended"
)

const (
	minRotation = 7 * 24 * time.Hour
	maxRotation = 730 * 24 * time.Hour
)

func (k *key) rotation() string {
	switch {
	case k.RotationSeconds == 0:
		return rotationDisabled
	case k.State != stateEnabled:
		return rotationSuspended
	}
	return rotationEnabled
}

var intervalForm = regexp.MustCompile(`^([1-9][0-9]{0,8})([dhms])$`)

// rotationPolicy reads EnableAutomaticRotation and RotationInterval, a number
// and its unit between 7 and 730 days; zero is no rotation.
func rotationPolicy(p wire.Params) (time.Duration, error) {
	enabled, err := p.Boolean("EnableAutomaticRotation")
	if err != nil || !enabled {
		return 0, err
	}
	text, err := p.Need("RotationInterval")
	if err != nil {
		return 0, err
	}
	m := intervalForm.FindStringSubmatch(text)
	if m == nil {
		return 0, wire.Invalid("RotationInterval")
	}
	n, err := strconv.Atoi(m[1])
	unit := map[string]time.Duration{"d": 24 * time.Hour, "h": time.Hour, "m": time.Minute, "s": time.Second}[m[2]]
	if err != nil || n > int(maxRotation/unit) || time.Duration(n)*unit < minRotation {
		return 0, wire.Invalid("RotationInterval")
	}
	return time.Duration(n) * unit, nil
}

// setRotation starts a policy: the first rotation is one interval from now.
func (k *key) setRotation(interval time.Duration, now time.Time) {
	k.RotationSeconds, k.NextRotation = int64(interval/time.Second), time.Time{}
	if interval > 0 {
		k.NextRotation = now.Add(interval)
	}
}

// updateRotationPolicy needs a key that may be used (which states the service
// takes is not documented; chosen).
func (a *Account) updateRotationPolicy(v view, p wire.Params) (wire.Reply, error) {
	if _, err := p.Need("EnableAutomaticRotation"); err != nil {
		return nil, err
	}
	interval, err := rotationPolicy(p)
	if err != nil {
		return nil, err
	}
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	if err := k.usable(); err != nil {
		return nil, err
	}
	k.setRotation(interval, v.now.UTC().Truncate(time.Second))
	return wire.Reply{}, v.putKey(k)
}

// rotate gives a key a new primary version and stores it.
func (v view) rotate(k *key, when time.Time) error {
	if err := v.addVersion(k, when); err != nil {
		return err
	}
	k.Rotated = when
	return v.putKey(k)
}

// never is a date that does not come.
const never = math.MaxInt64

// rotateDue performs the rotations whose date has passed, and returns when the
// next one is due, in nanoseconds since 1970. A key that missed several (the
// server did not run, or rotation was suspended) is rotated once, and keeps
// its dates (not documented; chosen). A key with maxVersions waits until its
// policy changes.
func (v view) rotateDue() (next int64, err error) {
	next = never
	var due []*key
	err = v.tx.Bucket(bucketKeys).ForEach(func(_, raw []byte) error {
		k := new(key)
		if err := json.Unmarshal(raw, k); err != nil {
			return err
		}
		switch {
		case k.rotation() != rotationEnabled || len(k.versionIDs()) >= maxVersions:
		case v.now.Before(k.NextRotation):
			next = min(next, k.NextRotation.UnixNano())
		default:
			due = append(due, k) // not changed under the iteration
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, k := range due {
		interval := time.Duration(k.RotationSeconds) * time.Second
		missed := v.now.Sub(k.NextRotation) / interval
		when := k.NextRotation.Add(missed * interval)
		k.NextRotation = when.Add(interval)
		if err := v.rotate(k, when); err != nil {
			return 0, err
		}
		next = min(next, k.NextRotation.UnixNano())
	}
	return next, nil
}

// keepRotation rotates what is due before an action runs. In between it costs
// a comparison.
//
// INVARIANT: nextRotation is never later than the truth: it is set inside the
// transaction that makes it so, and zero, for unknown, after one that failed.
func (a *Account) keepRotation(now time.Time) error {
	if now.UnixNano() < a.nextRotation.Load() {
		return nil
	}
	return a.update(now, func(view) error { return nil })
}

// update changes the state in one transaction, after which nextRotation holds.
func (a *Account) update(now time.Time, change func(view) error) error {
	stored := false
	err := a.db.Update(func(tx *bolt.Tx) error {
		v := view{tx: tx, now: now}
		if err := v.sweep(); err != nil {
			return err
		}
		if err := change(v); err != nil {
			return err
		}
		next, err := v.rotateDue()
		if err == nil {
			a.nextRotation.Store(next)
			stored = true
		}
		return err
	})
	if err != nil && stored {
		a.nextRotation.Store(0)
	}
	return err
}
