package account

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
	bolt "go.etcd.io/bbolt"
)

// ID is the number of the account that owns everything here.
const ID = "1234567890123456"

// Options are what Open makes an account of.
type Options struct {
	// Region is the region that the account is in.
	Region string
	// Generation is that of new keys: SharedGeneration or InstanceGeneration.
	Generation int
	// BlobLayout is that of new ciphertext; HasLayout says which there are.
	BlobLayout string
	// NoSync says that what is stored need not survive a crash of the machine:
	// for fuzzing.
	NoSync bool
}

// Account is one account in one region.
type Account struct {
	region     string
	generation int
	db         *bolt.DB
	sealer     sealer

	internetOff  atomic.Bool  // the switch of reachable
	nextRotation atomic.Int64 // see keepRotation
}

// Open opens or makes the state file of an account. Its errors are of class
// ErrState.
func Open(path string, o Options) (*Account, error) {
	db, err := openState(path)
	if err != nil {
		return nil, err
	}
	db.NoSync = o.NoSync
	if err := claimRegion(db, path, o.Region); err != nil {
		db.Close()
		return nil, err
	}
	return &Account{region: o.Region, generation: o.Generation, db: db, sealer: layouts[o.BlobLayout]}, nil
}

// Close closes the state file.
func (a *Account) Close() error { return a.db.Close() }

// Perform runs an action of Operations; instance says that the request came to an
// instance's own endpoint. Its error is a *wire.Error, or something that went
// wrong inside.
func (a *Account) Perform(action string, instance bool, p wire.Params) (wire.Reply, error) {
	op := Operations[action]
	if op.Crypto {
		if err := noFlatContext(p); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	if err := a.keepRotation(now); err != nil {
		return nil, err
	}
	var out wire.Reply
	step := func(v view) (err error) {
		v.instance = instance
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
		if dry, err := p.Boolean("DryRun"); err != nil {
			return nil, err
		} else if dry {
			return nil, wire.ErrDryRun
		}
	}
	return out, nil
}

func (a *Account) arn(resource string) string {
	return "acs:kms:" + a.region + ":" + ID + ":" + resource
}

func sortBy[T any, K cmp.Ordered](s []T, by func(T) K) {
	slices.SortFunc(s, func(a, b T) int { return cmp.Compare(by(a), by(b)) })
}
