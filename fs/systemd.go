package fs

import (
	"strings"

	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/fs/source"
)

// noteSystemd tells of a ciphertext that systemd itself is about to read: the one
// process that the whole machine waits for, should it have to wait.
func (f *FS) noteSystemd(r *session.Request, n *node) {
	if r.Pid == 1 && f.cfg.ReadBySystemd != nil && n.kind == source.ModeFile && !n.plain {
		f.cfg.ReadBySystemd(strings.TrimSuffix(n.rel, source.Suffix))
	}
}
