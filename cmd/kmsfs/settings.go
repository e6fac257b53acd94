package main

import (
	"time"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/gate"
)

// settings are the options of a command as typed values. Every field has its
// row in the table of options.go, which also says what it defaults to.
type settings struct {
	connection
	credentials
	guard

	ttl          time.Duration
	refresh      time.Duration // before the end of the ttl; 0: never
	stale        time.Duration // after the end of the ttl
	timeout      time.Duration
	qps          int   // calls per second
	cacheSize    int64 // bytes
	requireMlock bool

	fileMode, dirMode uint32
	uid, gid          uint32
	allowOther        bool
	shared            bool // the mount's propagation
	nonempty          bool
	plain             bool
	fast              bool // open=fast
	directIO          bool // asked for

	logFile string

	sloppy  bool // mount -s: unknown options are passed over
	verbose bool // a command says what a mount logs of its connection

	gate *gate.Gate // before all calls, once there is one; set before the first call
}

// connection says which key service to speak to.
type connection struct {
	region        string
	endpoint      string
	caFile        string
	vpc           bool
	allowEmulator bool
}

// credentials says where those of the key service come from.
type credentials struct {
	profile      string
	file         string
	ramRole      string
	allowProcess bool
}

// guard limits which ciphertexts are opened, and says what is in them.
type guard struct {
	keys     []string // ids, ARNs, aliases; none: all keys
	context  kms.EncryptionContext
	bind     bool // the context has the file's name
	encoding kms.Encoding
}

// mode is the value of open=.
func (s *settings) mode() string {
	if s.fast {
		return "fast"
	}
	return "checked"
}
