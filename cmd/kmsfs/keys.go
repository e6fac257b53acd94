package main

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/kms/aliyun"
)

// keyVerb is a command that asks the service about keys, or changes them, and
// prints its answer.
type keyVerb struct {
	use, short, long, example string
	args                      []string
	flags                     func(*cobra.Command)
	call                      func(ctx context.Context, c *aliyun.Client, args []string) (json.RawMessage, error)
}

func keyCommands(p *program) []*cobra.Command {
	var description string
	var page, size int
	paging := func(cmd *cobra.Command) {
		cmd.Flags().IntVar(&page, "page-number", 1, "which page")
		cmd.Flags().IntVar(&size, "page-size", 10, "entries of a page, at most 100")
	}
	onKey := func(use, short, action string, call func(*aliyun.Client, context.Context, string) (json.RawMessage, error)) keyVerb {
		return keyVerb{
			use: use + " KEYID", short: short, long: "the same as aliyun kms " + action, args: []string{"KEYID"},
			call: func(ctx context.Context, c *aliyun.Client, args []string) (json.RawMessage, error) {
				return call(c, ctx, args[0])
			},
		}
	}
	verbs := []keyVerb{
		{
			use: "create-key", short: "Make a key (CMK) and print what the service says of it",
			long: "makes a symmetric key for encryption, the same as aliyun kms CreateKey",
			flags: func(cmd *cobra.Command) {
				cmd.Flags().StringVar(&description, "description", "", "a text to know the key by")
			},
			call: func(ctx context.Context, c *aliyun.Client, _ []string) (json.RawMessage, error) {
				return c.CreateKey(ctx, description)
			},
		},
		{
			use: "create-alias ALIAS KEYID", short: "Give a key a name", args: []string{"ALIAS", "KEYID"},
			long:    "gives a key a name, which begins with alias/, the same as aliyun kms CreateAlias",
			example: "  kmsfs create-alias alias/Apollo/WorkKey 08c33a6f-4e0a-4a1b-a3fa-7ddfa1d4fb73",
			call: func(ctx context.Context, c *aliyun.Client, args []string) (json.RawMessage, error) {
				return c.CreateAlias(ctx, args[0], args[1])
			},
		},
		{
			use: "list-keys", short: "List the keys of the region", long: "the same as aliyun kms ListKeys", flags: paging,
			call: func(ctx context.Context, c *aliyun.Client, _ []string) (json.RawMessage, error) {
				return c.ListKeys(ctx, page, size)
			},
		},
		{
			use: "list-aliases", short: "List the names of keys", long: "the same as aliyun kms ListAliases", flags: paging,
			call: func(ctx context.Context, c *aliyun.Client, _ []string) (json.RawMessage, error) {
				return c.ListAliases(ctx, page, size)
			},
		},
		onKey("describe-key", "Show what the service knows of a key", "DescribeKey", (*aliyun.Client).DescribeKey),
		onKey("enable-key", "Let a key be used again", "EnableKey", (*aliyun.Client).EnableKey),
		onKey("disable-key", "Keep a key from being used; what it encrypted cannot be read until it is enabled", "DisableKey",
			(*aliyun.Client).DisableKey),
	}
	var commands []*cobra.Command
	for _, v := range verbs {
		commands = append(commands, v.command(p))
	}
	return commands
}

func (v keyVerb) command(p *program) *cobra.Command {
	s, deferr := options.Defaults()
	var output string
	name, _, _ := strings.Cut(v.use, " ")
	cmd := &cobra.Command{
		Use: v.use, Short: v.short, Example: v.example, Args: exactly(v.args...),
		Long: name + ": " + v.long + ". It prints\nthe service's answer.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if deferr != nil {
				return deferr
			}
			return p.ask(cmd.Context(), s, output, func(ctx context.Context, c *aliyun.Client) (json.RawMessage, error) {
				return v.call(ctx, c, args)
			})
		},
	}
	s.FromEnvironment(p.getenv, false)
	if v.flags != nil {
		v.flags(cmd)
	}
	cmd.Flags().StringVar(&output, "output", "json", "json, as the aliyun command prints it, or table")
	s.AddFlags(cmd.Flags(), false)
	return cmd
}

// question is a call whose answer is printed.
type question func(context.Context, *aliyun.Client) (json.RawMessage, error)

// ask makes one call and prints its answer.
func (p *program) ask(ctx context.Context, s *options.Settings, output string, call question) error {
	if output != "json" && output != "table" {
		return ui.Usagef("read option --output: %s is neither json nor table", ui.Quote(output)).
			Hint("table is for people, json for programs")
	}
	client, err := p.verbClient(s)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	raw, err := call(ctx, client)
	if err != nil {
		return err
	}
	return ui.PrintAnswer(p.stdout, raw, output)
}
