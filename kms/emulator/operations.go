package emulator

import (
	"cmp"
	"errors"
	"slices"
	"sync/atomic"
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
	crypto bool // counts towards the quota of cryptographic calls

	sharedOnly bool // is not for an instance's own endpoint (documented)
}

// operations is every action this emulator knows.
var operations = map[string]operation{
	"CreateKey":             {run: (*account).createKey, writes: true},
	"DescribeKey":           {run: (*account).describeKey},
	"ListKeys":              {run: (*account).listKeys},
	"UpdateKeyDescription":  {run: (*account).updateKeyDescription, writes: true},
	"EnableKey":             {run: (*account).enableKey, writes: true},
	"DisableKey":            {run: (*account).disableKey, writes: true},
	"ScheduleKeyDeletion":   {run: (*account).scheduleKeyDeletion, writes: true},
	"CancelKeyDeletion":     {run: (*account).cancelKeyDeletion, writes: true},
	"SetDeletionProtection": {run: (*account).setDeletionProtection, writes: true},

	"CreateAlias":        {run: (*account).createAlias, writes: true},
	"UpdateAlias":        {run: (*account).updateAlias, writes: true},
	"DeleteAlias":        {run: (*account).deleteAlias, writes: true},
	"ListAliases":        {run: (*account).listAliases},
	"ListAliasesByKeyId": {run: (*account).listAliasesByKeyID},

	"CreateKeyVersion":     {run: (*account).createKeyVersion, writes: true},
	"DescribeKeyVersion":   {run: (*account).describeKeyVersion},
	"ListKeyVersions":      {run: (*account).listKeyVersions},
	"UpdateRotationPolicy": {run: (*account).updateRotationPolicy, writes: true},

	"Encrypt":                         {run: (*account).encrypt, dryRun: true, crypto: true},
	"Decrypt":                         {run: (*account).decrypt, dryRun: true, crypto: true},
	"ReEncrypt":                       {run: (*account).reEncrypt, dryRun: true, crypto: true, sharedOnly: true},
	"GenerateDataKey":                 {run: (*account).generateDataKey, dryRun: true, crypto: true},
	"GenerateDataKeyWithoutPlaintext": {run: (*account).generateDataKeyWithoutPlaintext, dryRun: true, crypto: true},

	"TagResource":      {run: (*account).tagResource, writes: true},
	"UntagResource":    {run: (*account).untagResource, writes: true},
	"ListResourceTags": {run: (*account).listResourceTags},

	"DescribeRegions":          {run: (*account).describeRegions},
	"DescribeAccountKmsStatus": {run: (*account).describeAccountKmsStatus},
}

// accountID owns everything here.
const accountID = "1234567890123456"

// account is one account in one region.
type account struct {
	region     string
	generation int
	db         *bolt.DB
	sealer     sealer

	internetOff  atomic.Bool  // the switch of reachable
	nextRotation atomic.Int64 // see keepRotation
}

// perform runs an action. Its error is an *apiError, or something that went
// wrong inside.
func (a *account) perform(c *call) (reply, error) {
	op, p := operations[c.action], c.params
	if op.crypto {
		if err := p.noFlatContext(); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	if err := a.keepRotation(now); err != nil {
		return nil, err
	}
	var out reply
	step := func(v view) (err error) {
		v.instance = c.at.instance
		out, err = op.run(a, v, p)
		return err
	}
	var err error
	if op.writes {
		err = a.update(now, step)
	} else {
		err = a.db.View(func(tx *bolt.Tx) error { return step(view{tx: tx, now: now}) })
	}
	if err != nil {
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

func sortBy[T any, K cmp.Ordered](s []T, by func(T) K) {
	slices.SortFunc(s, func(a, b T) int { return cmp.Compare(by(a), by(b)) })
}
