// Package fs is what the kernel sees: a read-only filesystem in go-fuse's
// terms that shows a directory of *.cipher files as their plaintext.
//
// It knows the contract of a key service (package kms) and the cache, but no
// vendor, no HTTP and no command line. README.md beside this file keeps the
// decisions, and the calls that would deadlock.
package fs

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/fs/audit"
	"github.com/kmsfs/kmsfs/fs/invalidate"
	"github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// Config says what to serve and how it looks. Zero values are not defaults:
// the program fills every field.
type Config struct {
	Mount mount.Spec // Mount.Source is the directory that is served

	// Lifeline is what a predecessor has left. The filesystem closes it.
	// nil: there was none.
	Lifeline *session.Lifeline

	Decrypter  kms.Decrypter
	Recogniser kms.Recogniser        // of what the Decrypter opens
	Context    kms.EncryptionContext // nil: none is sent
	BindNames  bool                  // the context of each file has its name in it
	Encoding   kms.Encoding          // of the secrets in what the service keeps
	Cache      *cache.Cache

	FileMode, DirMode uint32 // permission bits, below 0777
	UID, GID          uint32 // the owner that is shown
	Plain             bool   // files without the suffix are shown as they are
	Fast              bool   // open=fast: the kernel opens, and keeps pages; see fast.go

	Log *slog.Logger // one line per open, and what an admin must know
	// ReadBySystemd is told of files that systemd itself reads, which must not wait
	// long; often, and more than once. nil: the first process is not systemd.
	ReadBySystemd func(name string)
	Warn          func(string) // told what to warn of for as long as the mount lives, beyond Log; nil: Log is
}

// FS answers the kernel. Its methods are called from many goroutines.
//
// LOCK ORDER: a dirHandle's lock, which is held while its directory is listed,
// then any other. Each table below has a lock of its own, held for a few
// instructions; nobody takes a second one or calls out while holding it: not
// the source, not the cache, and never the kernel.
type FS struct {
	cfg     Config
	mode    mode
	source  *source.Dir
	session *session.Session // from Mount on
	audit   *audit.Log
	notices notices
	contents
	held
	believed
}

var _ session.Handler = (*FS)(nil)

// held is what the kernel has of us: nodes that it looked up, and versions and
// directories that it opened.
//
// INVARIANT: the numbers of nodes and of versions follow from what they stand for,
// and a directory's is given once on a connection; so each means the same to a
// successor, or nothing.
type held struct {
	nodes   *nodes
	handles *handles
	dirs    *dirs
	resumed bool // a predecessor gave some of them
	search  search
}

// believed is what the kernel takes for granted without asking, until it is told.
//
// INVARIANT: no page outlives the plaintext that it was read from, nor a name by
// more than a second what the source has under it.
type believed struct {
	notifications invalidate.Notifications // all that the kernel is told unasked
	pages         *invalidate.Pages
	names         *invalidate.Names
	clock         *invalidate.Clock
}

// New opens the source and prepares to serve it. Nothing is mounted yet and
// no call to the key service is made.
func New(cfg Config) (*FS, error) {
	switch {
	case cfg.Decrypter == nil, cfg.Recogniser == nil, cfg.Cache == nil, cfg.Log == nil:
		return nil, errors.New("fs: Decrypter, Recogniser, Cache and Log are required")
	case cfg.FileMode&^0o777 != 0 || cfg.DirMode&^0o777 != 0:
		return nil, errors.New("fs: modes are permission bits only")
	}
	var src *source.Dir
	var err error
	if cfg.Lifeline != nil {
		src = source.Inherited(cfg.Lifeline.Source)
	} else if src, err = source.Open(cfg.Mount.Source); err != nil {
		return nil, err
	}
	f := &FS{
		cfg:      cfg,
		source:   src,
		audit:    audit.New(cfg.Log, false),
		contents: newContents(cfg.Recogniser),
		held: held{
			nodes:   newNodes(&node{id: rootID, kind: source.ModeDir}),
			handles: newHandles(),
			dirs:    &dirs{open: map[uint64]*dirHandle{}, held: map[uint32]int{}},
		},
		believed: believed{pages: invalidate.NewPages()},
	}
	f.mode = newMode(f, cfg.Fast)
	if f.clock, err = invalidate.WatchClock(f.clockJumped); err != nil {
		src.Close()
		return nil, fmt.Errorf("watch the clock: %w", err)
	}
	if f.mode.trustsNames() {
		f.names = invalidate.NewNames(src, cfg.Log)
	} else {
		f.names = invalidate.NewNames(nil, cfg.Log)
	}
	return f, nil
}

// clockJumped wipes what is past its time now, and drops all pages: timers did
// not see the jump. Pages of what still lives are read again.
func (f *FS) clockJumped() {
	f.cfg.Cache.Expire()
	f.pages.DropIf(func(invalidate.Plaintext) bool { return true })
}

// release lets go of what was held for the kernel.
func (f *FS) release() {
	f.audit.Flush()
	f.clock.Close()
	f.names.Close()
	f.pages.Close()
	f.handles.closeAll()
	f.source.Close()
}
