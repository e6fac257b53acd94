// Package daemon is the process that answers for a mount. It joins what decrypts,
// what remembers and what the kernel sees, says that it is there, and ends when
// it is unmounted, told to, or followed by another process.
package daemon

import (
	"io"
	"log/slog"
	"os"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/gate"
)

// Config is what a mount is made of.
type Config struct {
	*options.Settings
	Source     string
	Point      string
	Device     *os.File // of /dev/fuse, if somebody else has mounted; else nil
	Directory  string   // where the command line was written
	Version    string
	Stderr     io.Writer
	Getenv     func(string) string
	Recogniser kms.Recogniser // of what the key service opens
	// Connect finds who decrypts. It makes no call.
	Connect func(log *slog.Logger) (*KeyService, error)
}

// KeyService is who decrypts, as this room sees it.
type KeyService struct {
	Decrypter kms.Decrypter
	Gate      *gate.Gate // before all its calls
	Warnings  []string   // of its connection, which have been logged
	Close     func()
}

// MountError is why mounting failed; who gave the command knows what to do
// about it.
type MountError struct{ Err error }

func (e *MountError) Error() string { return e.Err.Error() }
func (e *MountError) Unwrap() error { return e.Err }
