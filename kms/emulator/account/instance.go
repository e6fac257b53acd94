package account

import (
	"regexp"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

// DefaultInstance is the id of the instance that keys of generation 3 belong
// to, unless they name another.
const DefaultInstance = "kst-hzz0emulator0example0"

var instanceForm = regexp.MustCompile(`^kst-[0-9a-z]+$`)

// instanceOf reads DKMSInstanceId. Any instance in the documented form exists
// here, and the one instance endpoint plays them all (chosen). In generation 1
// a key that names one is what a migrated key is: its id stays a UUID.
func (a *Account) instanceOf(p wire.Params) (string, error) {
	id := p["DKMSInstanceId"]
	switch {
	case id == "" && a.generation == InstanceGeneration:
		return DefaultInstance, nil
	case id != "" && !instanceForm.MatchString(id):
		return "", wire.Invalid("DKMSInstanceId")
	}
	return id, nil
}

// reachable says whether cryptography with a key is possible where a request
// came in. At the shared endpoint it takes the switch of the console for keys
// of an instance (documented). An instance has no key but its own; what it says
// of others is not documented, chosen: that there is none.
func (a *Account) reachable(v view, k *key) error {
	owned := k.Instance != ""
	switch {
	case v.instance && !owned:
		return wire.ErrKeyNotFound
	case !v.instance && owned && a.internetOff.Load():
		return wire.ErrUnsupportedHere
	}
	return nil
}

// InternetAccess says whether keys of an instance do cryptography at the shared
// endpoint; a new Account lets them.
func (a *Account) InternetAccess() bool { return !a.internetOff.Load() }

// SetInternetAccess turns that switch.
func (a *Account) SetInternetAccess(on bool) { a.internetOff.Store(!on) }
