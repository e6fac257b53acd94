package mount

import "os"

// Spec says what is mounted, where, and for whom.
type Spec struct {
	Source string // as the mount table names it: the directory of *.cipher files
	Point  string // an existing directory, absolute

	// Device is the kernel's end of a mount that somebody else has made at
	// Point. nil: kmsfs mounts.
	Device *os.File

	AllowOther bool // users other than the mounting one may ask
	Shared     bool // mounts and unmounts propagate; otherwise the mount is private
}
