package churn_test

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// churnWay is how a mount is run while it is churned: in the foreground, in the
// background, or as a service. None of it fails a test by itself, for several of
// them are under way at once.
type churnWay interface {
	attach() error               // mounts; the mount answers when it returns
	command(...string) *exec.Cmd // a program where the mount is
	table() (string, error)      // the mount table there
	processes() []int            // all that belong to the mount, in this machine's numbers
	actions() []churnAction      // what may happen to it
	log() string                 // what it has said
	discard()                    // removes what a failed round has left
}

// churnPlace is what every way has.
type churnPlace struct {
	source string // as this machine's processes see it
	seen   string // the mountpoint as they see it
	point  string // and as its own machine calls it
}

// churnAction is something that happens to a mount. Afterwards it is served
// again without further ado, or is gone.
type churnAction struct {
	name  string
	do    func() error
	stays bool
	dead  bool          // what is left is a mount that nobody has had the time to unmount
	limit time.Duration // of a reader's wait, where that is not churnLimit
}

// allowed are those errors that a reader may get of a mount that stays: of a
// version that was replaced in the source and has gone with its server, and of
// calls that take as long as the ttl, which is no answer (and after some of these
// the service counts as one that gives none).
func (a churnAction) allowed(w waits) int64 {
	n := w.errnos[unix.ESTALE] + w.errnos[unix.EFAULT] + w.errnos[unix.ETIMEDOUT] + w.errnos[unix.EIO]
	if a.limit > 0 { // this one loses its server, and with it the connection
		n = w.failed
	}
	return n
}

// errChurnBusy is what an umount says when it has changed nothing.
var errChurnBusy = errors.New("busy")

// patiently runs a command that must not hang.
func patiently(cmd *exec.Cmd) error {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(said.String()))
		}
		return err
	case <-time.After(2 * harness.Patience):
		at := whereabouts(cmd.Process.Pid)
		cmd.Process.Kill()
		return fmt.Errorf("%s hangs:\n%s", strings.Join(cmd.Args, " "), at)
	}
}

// unmounting are the ways to unmount that every way to run has. An umount says
// that the mount is in use when somebody reads at that moment: then there is
// another one.
func unmounting(w churnWay, point string) []churnAction {
	plain := func() error {
		for begun := time.Now(); ; {
			err := patiently(w.command("kmsfs", "umount", point))
			if err == nil || !strings.Contains(err.Error(), "busy") {
				return err
			}
			if time.Since(begun) > 2*time.Second {
				return errChurnBusy
			}
		}
	}
	lazy := func() error {
		return patiently(w.command("umount", "--no-canonicalize", "--internal-only", "--lazy", point))
	}
	return []churnAction{{name: "umount", do: plain}, {name: "umount --lazy", do: lazy}}
}
