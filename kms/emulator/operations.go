package emulator

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// reply is a successful answer without its RequestId.
type reply map[string]any

// operation performs one action. It runs inside one transaction: read-only
// unless the table below says that it writes.
type operation struct {
	run    func(*account, view, params) (reply, error)
	writes bool
	dryRun bool // DryRun is among its parameters
}

// operations is every action this emulator knows.
var operations = map[string]operation{
	"CreateKey":           {run: (*account).createKey, writes: true},
	"DescribeKey":         {run: (*account).describeKey},
	"ListKeys":            {run: (*account).listKeys},
	"EnableKey":           {run: (*account).enableKey, writes: true},
	"DisableKey":          {run: (*account).disableKey, writes: true},
	"ScheduleKeyDeletion": {run: (*account).scheduleKeyDeletion, writes: true},
	"CancelKeyDeletion":   {run: (*account).cancelKeyDeletion, writes: true},
	"CreateAlias":         {run: (*account).createAlias, writes: true},
	"UpdateAlias":         {run: (*account).updateAlias, writes: true},
	"DeleteAlias":         {run: (*account).deleteAlias, writes: true},
	"ListAliases":         {run: (*account).listAliases},
	"Encrypt":             {run: (*account).encrypt, dryRun: true},
	"Decrypt":             {run: (*account).decrypt, dryRun: true},
	"GenerateDataKey":     {run: (*account).generateDataKey, dryRun: true},
}

// accountID owns everything here.
const accountID = "1234567890123456"

// account is one account in one region.
type account struct {
	region string
	db     *bolt.DB
}

// perform runs an action. Its error is an *apiError, or something that went
// wrong inside.
func (a *account) perform(action string, p params) (reply, error) {
	op, ok := operations[action]
	if !ok {
		return nil, errNoSuchAPI
	}
	var out reply
	step := func(tx *bolt.Tx) (err error) {
		v := view{tx, time.Now()}
		if op.writes {
			if err := v.sweep(); err != nil {
				return err
			}
		}
		out, err = op.run(a, v, p)
		return err
	}
	in := a.db.View
	if op.writes {
		in = a.db.Update
	}
	if err := in(step); err != nil {
		return nil, err
	}
	if op.dryRun {
		// A dry run never succeeds: it ends in a code that says that it
		// would have.
		if dry, err := p.boolean("DryRun"); err != nil {
			return nil, err
		} else if dry {
			return nil, errDryRun
		}
	}
	return out, nil
}

// asAPIError returns the answer for an error of perform.
func asAPIError(err error) *apiError {
	var e *apiError
	if errors.As(err, &e) {
		return e
	}
	return errInternal
}

func (a *account) arn(resource string) string {
	return "acs:kms:" + a.region + ":" + accountID + ":" + resource
}

// page cuts one page out of all. Numbers begin with 1; a page behind the last
// is empty.
func page[T any](all []T, number, size int) []T {
	if size == 0 || number > len(all)/size+1 {
		return nil
	}
	from := min((number-1)*size, len(all))
	return all[from:min(from+size, len(all))]
}

func sortBy[T any, K cmp.Ordered](s []T, by func(T) K) {
	slices.SortFunc(s, func(a, b T) int { return cmp.Compare(by(a), by(b)) })
}

// newUUID returns a random UUID in lower case.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
