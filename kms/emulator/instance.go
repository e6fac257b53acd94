package emulator

import (
	"encoding/json"
	"errors"
	"io"
	"regexp"
)

// DefaultInstance is the id of the instance that keys of generation 3 belong
// to, unless they name another.
const DefaultInstance = "kst-hzz0emulator0example0"

// instanceDomain is what is behind the id in the name of an instance's own
// endpoint (documented).
const instanceDomain = ".cryptoservice.kms.aliyuncs.com"

var instanceForm = regexp.MustCompile(`^kst-[0-9a-z]+$`)

// instanceOf reads DKMSInstanceId. Any instance in the documented form exists
// here, and the one instance endpoint plays them all (chosen). In generation 1
// a key that names one is what a migrated key is: its id stays a UUID.
func (a *account) instanceOf(p params) (string, error) {
	id := p["DKMSInstanceId"]
	switch {
	case id == "" && a.generation == instanceGeneration:
		return DefaultInstance, nil
	case id != "" && !instanceForm.MatchString(id):
		return "", errInvalid("DKMSInstanceId")
	}
	return id, nil
}

// reachable says whether cryptography with a key is possible where a request
// came in. At the shared endpoint it takes the switch of the console for keys
// of an instance (documented). An instance has no key but its own; what it says
// of others is not documented, chosen: that there is none.
func (a *account) reachable(v view, k *key) error {
	owned := k.Instance != ""
	switch {
	case v.instance && !owned:
		return errKeyNotFound
	case !v.instance && owned && a.internetOff.Load():
		return errUnsupportedHere
	}
	return nil
}

// parseInternetAccess reads {"on":false}.
func parseInternetAccess(r io.Reader) (bool, error) {
	var asked struct {
		On *bool `json:"on"`
	}
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&asked); err != nil {
		return false, err
	}
	if _, err := d.Token(); err != io.EOF {
		return false, errors.New("more than one JSON value")
	}
	if asked.On == nil {
		return false, errors.New(`on is missing: {"on":true} or {"on":false}`)
	}
	return *asked.On, nil
}
