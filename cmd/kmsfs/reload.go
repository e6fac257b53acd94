package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

// reloadPatience is how long a reload may take. It is done in a tenth of a
// second where nothing is slow.
const reloadPatience = 10 * time.Second

func reloadCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "reload MNT",
		Short: "Let a mount be served by the program that is installed now",
		Long: `reload makes the process that serves MNT become the program that lies under
its path now: an upgrade without unmounting. Readers wait a moment, open
descriptors stay valid. Plaintext is not passed on; KMS is asked again. The
program and the directories above it must belong to root, or to who mounted,
and be writable by nobody else.

First the program shows that it can serve MNT: it is started once, and must find
its options, its log and its credentials. If it does not, the mount is served on
as before, and reload says why.

SIGHUP to that process does the same; the outcome is in the log.`,
		Example: `  kmsfs reload /run/certs`,
		Args:    exactly("MNT"),
		RunE: func(_ *cobra.Command, args []string) error {
			before, err := p.statusFrom(control.VerbReload, args[0])
			if err != nil {
				return err
			}
			for late := time.Now().Add(reloadPatience); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
				// In between there is nobody to ask.
				if now, err := p.statusFrom(control.VerbStatus, args[0]); err == nil && now.Started.After(before.Started) {
					_, err = fmt.Fprintf(p.stdout, "process %d, version %s\n", now.PID, now.Version)
					return err
				}
			}
			return ui.Failf("reload %s: it has not happened within %v", ui.Quote(args[0]), reloadPatience).
				Hint("the log of the mount says why")
		},
	}
}

// statusFrom asks a mount for something that is answered with its status.
func (p *program) statusFrom(verb, mnt string) (control.Status, error) {
	var s control.Status
	m, err := p.mounted(verb, mnt)
	if err != nil {
		return s, err
	}
	a, err := control.Call(m, control.Request{Verb: verb})
	if err != nil {
		return s, err
	}
	if json.Unmarshal(a.Status, &s) != nil {
		return s, ui.Failf("%s %s: the answer is not of this version", verb, ui.Quote(mnt))
	}
	return s, nil
}
