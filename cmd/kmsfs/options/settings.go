package options

import (
	"context"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

// Settings are the options of a command as typed values. Every field has its
// row in the table, which also says what it defaults to.
type Settings struct {
	Connection
	Credentials
	Guard

	TTL          time.Duration
	Refresh      time.Duration // before the end of the ttl; 0: never
	Stale        time.Duration // after the end of the ttl
	Timeout      time.Duration
	QPS          int   // calls per second
	CacheSize    int64 // bytes
	RequireMlock bool

	FileMode, DirMode uint32
	UID, GID          uint32
	AllowOther        bool
	Shared            bool // the mount's propagation
	Nonempty          bool
	Plain             bool
	Fast              bool // open=fast
	DirectIO          bool // asked for

	LogFile string

	Sloppy  bool // mount -s: unknown options are passed over
	Verbose bool // a command says what a mount logs of its connection

	// Repeat is the leave of the gate before all calls, once there is one, to
	// send a request once more. It is set before the first call.
	Repeat func(context.Context) error
}

// Connection says which key service to speak to.
type Connection struct {
	Region        string
	Endpoint      string
	CAFile        string
	VPC           bool
	AllowEmulator bool
}

// Credentials says where those of the key service come from.
type Credentials struct {
	Profile      string
	File         string
	RAMRole      string
	AllowProcess bool
}

// Guard limits which ciphertexts are opened, and says what is in them.
type Guard struct {
	Keys      []string // ids, ARNs, aliases; none: all keys
	Context   kms.EncryptionContext
	BindNames bool // the context has the file's name
	Encoding  kms.Encoding
}

// FromEnvironment fills what may be given by the environment, before options.
// A variable left over from a trial must not redirect a mount that a machine
// makes at boot: under mount(8)'s helper names only the region counts.
func (c *Connection) FromEnvironment(getenv func(string) string, helper bool) {
	c.Region = getenv("ALIBABA_CLOUD_REGION_ID")
	if !helper {
		c.Endpoint = getenv("KMSFS_ENDPOINT")
		c.CAFile = getenv("KMSFS_CA_FILE")
	}
}

// Mode is the value of open=.
func (s *Settings) Mode() string {
	if s.Fast {
		return "fast"
	}
	return "checked"
}
