package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

func statusCommand(p *program) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status MNT",
		Short: "Show how a mount is doing",
		Long: `status asks the process that serves MNT how it is doing: what it keeps, how
often it was read, what it asked of the key service, the last error of each
kind, and the warnings in force. It does not touch the mount, and shows no
secret. Only root and the user who mounted may ask.`,
		Example: `  kmsfs status /run/certs
  kmsfs status --json /run/certs | jq .kms.calls`,
		Args: exactly("MNT"),
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := p.mounted("status", args[0])
			if err != nil {
				return err
			}
			a, err := control.Call(m, control.Request{Verb: control.VerbStatus})
			if err != nil {
				return err
			}
			var s control.Status
			if err := json.Unmarshal(a.Status, &s); err != nil {
				return ui.Failf("status %s: the answer is not of this version", ui.Quote(args[0]))
			}
			if asJSON {
				var b bytes.Buffer
				if err := json.Indent(&b, a.Status, "", "\t"); err != nil {
					return ui.Failf("status %s: %w", ui.Quote(args[0]), err)
				}
				_, err = fmt.Fprintf(p.stdout, "%s\n", control.ASCIIJSON(b.Bytes()))
				return err
			}
			return s.Print(p.stdout, time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
