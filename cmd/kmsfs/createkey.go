package main

import (
	"encoding/json"

	"github.com/spf13/cobra"
)

func createKeyCommand(p *program) *cobra.Command {
	s, deferr := defaults()
	var description, output string
	cmd := &cobra.Command{
		Use:   "create-key",
		Short: "Make a key (CMK) and print what the service says of it",
		Long: `create-key makes a symmetric key for encryption, the same as
aliyun kms CreateKey, and prints the service's answer.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if deferr != nil {
				return deferr
			}
			return p.ask(cmd, s, output, func(c asker) (json.RawMessage, error) {
				return c.CreateKey(cmd.Context(), description)
			})
		},
	}
	s.fromEnvironment(p.getenv, false)
	cmd.Flags().StringVar(&description, "description", "", "a text to know the key by")
	addOutput(cmd, &output)
	s.addFlags(cmd.Flags(), false)
	return cmd
}

func createAliasCommand(p *program) *cobra.Command {
	s, deferr := defaults()
	var output string
	cmd := &cobra.Command{
		Use:   "create-alias ALIAS KEYID",
		Short: "Give a key a name",
		Long: `create-alias gives a key a name, the same as aliyun kms CreateAlias, and
prints the service's answer. A name begins with alias/.`,
		Example: `  kmsfs create-alias alias/Apollo/WorkKey 08c33a6f-4e0a-4a1b-a3fa-7ddfa1d4fb73`,
		Args:    exactly("ALIAS", "KEYID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if deferr != nil {
				return deferr
			}
			return p.ask(cmd, s, output, func(c asker) (json.RawMessage, error) {
				return c.CreateAlias(cmd.Context(), args[0], args[1])
			})
		},
	}
	s.fromEnvironment(p.getenv, false)
	addOutput(cmd, &output)
	s.addFlags(cmd.Flags(), false)
	return cmd
}
